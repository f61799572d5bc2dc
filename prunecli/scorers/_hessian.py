"""The diagonal of a loss's Hessian, exactly or estimated."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from prunecli.errors import BadUsage

MOST = 10_000
"""Most probes tried to reach the requested error."""


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """A context in which the network uses only operations with a second derivative in torch.

    Fused attention and `hardsigmoid` have none.
    """
    with sdpa_kernel(SDPBackend.MATH), _InSteps():
        yield


class _InSteps(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        called, kwargs = getattr(func, "__name__", ""), kwargs or {}
        if called not in ("hardsigmoid", "hardsigmoid_"):
            return func(*args, **kwargs)
        x = args[0] if args else kwargs["input"]
        inplace = called.endswith("_") or (*args[1:], kwargs.get("inplace", False))[0]
        y = F.relu6(x + 3) / 6
        return x.copy_(y) if inplace else y


def slopes(loss: Tensor, weights: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """dL/dw, which can be differentiated again; zeros where the loss does not depend on w."""
    return torch.autograd.grad(loss, weights, create_graph=True, materialize_grads=True)


def exact(loss: Tensor, weights: Sequence[Tensor]) -> list[Tensor]:
    """h_kk = d2L/dw_k2, with one backward pass for each weight."""
    gradients = slopes(loss, weights)
    diagonal = [torch.zeros_like(w, memory_format=torch.contiguous_format) for w in weights]
    for gradient, weight, h in zip(gradients, weights, diagonal, strict=True):
        if not gradient.requires_grad:  # the loss is linear in it
            continue
        for k, slope in enumerate(gradient.flatten()):
            (row,) = torch.autograd.grad(slope, weight, retain_graph=True, materialize_grads=True)
            h.view(-1)[k] = row.flatten()[k]
    return diagonal


def hutchinson(
    loss: Tensor,
    weights: Sequence[Tensor],
    probes: int,
    draw: torch.Generator,
    error: float = math.inf,
) -> list[Tensor]:
    """h = E[v * Hv] for vectors v of random signs: the mean over `probes` of them. Can be negative.

    Takes more probes until the root-mean-square standard error of all h w^2 is at most `error`
    times their root mean square. Raises BadUsage if `MOST` probes do not reach that.

    Source: Bekas, Kokiopoulou & Saad, Applied Numerical Mathematics 57, 2007
    """
    gradients = slopes(loss, weights)
    curved = [n for n, gradient in enumerate(gradients) if gradient.requires_grad]
    diagonal = [torch.zeros_like(w) for w in weights]
    if not curved:  # the loss is linear in all of them
        return diagonal
    squares, done = 0.0, 0
    while done < probes or (left := _error(diagonal, weights, squares, done)) > error:
        if done >= max(MOST, probes):
            raise BadUsage(f"error={error:g}: {done:,} probes reach only {left:.2g}; raise it")
        done += 1
        signs = [_signs(w, draw) for w in weights]
        products = torch.autograd.grad(
            [gradients[n] for n in curved],
            weights,
            [signs[n] for n in curved],
            retain_graph=True,
            materialize_grads=True,
        )
        found = [v * hv for v, hv in zip(signs, products, strict=True)]
        squares += _square(found, weights) if error < math.inf else 0.0
        for h, one in zip(diagonal, found, strict=True):
            h += one
    return [h / max(1, done) for h in diagonal]


def _error(total: list[Tensor], weights: Sequence[Tensor], squares: float, done: int) -> float:
    """The relative standard error of a mean, from its sum and the sum of the squares."""
    if done < 2:
        return math.inf  # one probe does not tell how others would differ
    if not squares:
        return 0.0
    mean = _square(total, weights) / done**2
    variance = max(0.0, squares / done - mean) / max(1, done - 1)
    # The square of the mean has the variance in it.
    return math.sqrt(variance / (mean - variance)) if mean > variance else math.inf


def _square(h: list[Tensor], weights: Sequence[Tensor]) -> float:
    scaled = zip(h, weights, strict=True)
    return sum(float((each * w.detach().square()).double().square().sum()) for each, w in scaled)


def gauss_newton(
    logits: Tensor, weights: Sequence[Tensor], probes: int, draw: torch.Generator
) -> list[Tensor]:
    """The diagonal of J' (diag(p) - p p') J for the mean cross-entropy; never negative.

    diag(p) - p p' is the sum over classes c of u_c u_c', with u_c = sqrt(p_c) (e_c - p). Give every
    image and class a random sign: the squared gradient of the signed sum of the u_c'z then has that
    diagonal as its expectation. No second derivative is needed.
    """
    p = logits.detach().softmax(1)
    diagonal = [torch.zeros_like(w) for w in weights]
    for _ in range(probes):
        signs = _signs(p, draw) * p.sqrt()
        directions = signs - p * signs.sum(1, keepdim=True)
        gradients = torch.autograd.grad(
            (directions * logits).sum(), weights, retain_graph=True, materialize_grads=True
        )
        for h, g in zip(diagonal, gradients, strict=True):
            h += g.square() / (probes * len(p))
    return diagonal


def _signs(like: Tensor, draw: torch.Generator) -> Tensor:
    """Random signs, -1 or 1; drawn on the CPU, so that they are the same on every device."""
    drawn = torch.randint(0, 2, like.shape, generator=draw, dtype=torch.int8)
    return drawn.to(like.device).to(like.dtype) * 2 - 1  # a byte each goes to a GPU
