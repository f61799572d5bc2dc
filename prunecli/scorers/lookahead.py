from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from prunecli.graph import (
    Flow,
    Layer,
    Norm,
    channel_axis,
    grouped,
    is_layer,
    norm_behind,
    ungrouped,
)
from prunecli.masks import prunable
from prunecli.types import Batches, Scores


def lookahead(
    model: nn.Module, data: Batches, *, normalize: Literal["none", "layer"] = "none"
) -> Scores:
    """Magnitude, seen through the layers before and after.

    A weight w from channel j to channel k of layer i:

        s(w) = |w| * ||W_{i-1}[j, :]||_F * ||W_{i+1}[:, k]||_F

    The neighbours are those on the network's graph. Several layers that feed a channel, or that
    read it, count together (the square root of the sum of squares); none counts as 1. Batch
    normalisation multiplies by gamma / sqrt(var + eps), so that folding it into the convolution
    changes no score. `normalize=layer` divides the scores of each layer by their norm.

    Raises Mismatch for a network that torch.fx cannot trace.

    Source: Park et al., Lookahead, ICLR 2020, arXiv 2002.04809, eq. 5 (3.3 in the foresight thesis)
    """
    norms = _Norms(model)
    after = norms.after(data.input_shape)
    scores = {}
    for name, w in prunable(model).items():
        layer = model.get_submodule(name.removesuffix("weight").removesuffix("."))
        terms = grouped(layer, w.detach().abs().double())
        groups, outputs, inputs, _ = terms.shape
        terms = terms * norms.before[name].sqrt().reshape(groups, 1, inputs, 1)
        terms = terms * after[name].sqrt().reshape(groups, outputs, 1, 1)
        score = ungrouped(layer, terms, w.shape)
        scores[name] = score / score.norm().clamp(min=1e-300) if normalize == "layer" else score
    return scores


class _Norms(Flow):
    """Every layer gives the squared norms of its rows, whatever arrives: its neighbours' norms.

    The squared norms of what feeds a layer's inputs arrive there. The sum over all layers of
    (what arrives) * (squared norms of the columns) has as its derivative by what a layer gives the
    squared norms of the columns that read it. A normalisation acts on what passes through it; the
    columns of a layer take in the one behind it.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.before: dict[str, Tensor] = {}
        self.given: list[tuple[str, Tensor]] = []
        self.read: list[Tensor] = []
        self.norm_behind = {
            f"{node.target}.weight": behind
            for node in self.traced.graph.nodes
            if is_layer(self.traced, node) and (behind := norm_behind(self.traced, node))
        }

    def scale(self, module: Norm) -> Tensor | None:
        parts = dict(module.named_parameters(recurse=False)) | dict(module.named_buffers())
        square = parts["weight"].detach().double().square() if "weight" in parts else None
        if "running_var" not in parts:
            return square
        one = torch.ones((), dtype=torch.float64)
        return (one if square is None else square) / (parts["running_var"].double() + module.eps)

    def layer(self, name: str, module: Layer, x: Tensor) -> Tensor:
        axis, name = channel_axis(module) % x.ndim, f"{name}.weight"
        squares = grouped(module, module.weight.detach().double().square())
        arriving = x.mean([d for d in range(x.ndim) if d != axis])
        self.before[name] = self.before.get(name, 0) + arriving.detach()
        columns = (squares * self._folded(name, squares)).sum((1, 3)).flatten()
        self.read.append((arriving * columns).sum())
        gives = squares.sum((2, 3)).flatten().requires_grad_()
        self.given.append((name, gives))
        with torch.no_grad():
            shape = module(x.to(module.weight.dtype)).shape
        return gives.reshape(-1, *[1] * (len(shape) - 1 - axis)).expand(shape)

    def _folded(self, name: str, squares: Tensor) -> Tensor:
        """What the normalisation right behind a layer multiplies its rows by, squared."""
        norm = self.norm_behind.get(name)
        factor = None if norm is None else self.scale(norm)
        if factor is None or factor.numel() != squares[:, :, 0, 0].numel():
            return torch.ones((), dtype=squares.dtype, device=squares.device)
        return factor.reshape(squares.shape[0], squares.shape[1], 1, 1)

    def after(self, input_shape: tuple[int, ...]) -> dict[str, Tensor]:
        total = self.total(input_shape) + torch.stack(self.read).sum()
        leaves = [gives for _, gives in self.given]
        slopes = torch.autograd.grad(total, leaves, materialize_grads=True)
        after: dict[str, Tensor] = {}
        for (name, _), slope in zip(self.given, slopes, strict=True):
            after[name] = after.get(name, 0) + slope
        return after
