"""What a mask does to a network as a whole: what is dead, and what still carries a signal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from prunecli.errors import Mismatch
from prunecli.graph import Flow, Layer
from prunecli.masks import dead_layers
from prunecli.types import Mask


def diagnosis(
    mask: Mask, model: nn.Module | None = None, input_shape: tuple[int, ...] = ()
) -> dict[str, Any]:
    """Of a mask, and of the network that it is for, if that is known and can be traced:

    - `dead_layers`: without any weight left (layer-collapse)
    - `dead_inputs`, `dead_outputs`: per layer, how many channels no weight reads or feeds
    - `live_path`: whether any path from input to output is left
    - `effective_density`: the weights on such a path, over all that the mask covers
    - `max_compression`: the highest compression that leaves each of the L layers a weight, n / L
    - `feasible`: whether so many weights could be spread over all layers

    `live_path` and `effective_density` are None where there is no network to trace.
    """
    total = sum(kept.numel() for kept in mask.values())
    left = sum(int(kept.sum()) for kept in mask.values())
    effective = None if model is None else _effective(mask, model, input_shape)
    return {
        "dead_layers": dead_layers(mask),
        "dead_inputs": {name: _dead(kept, 1) for name, kept in mask.items()},
        "dead_outputs": {name: _dead(kept, 0) for name, kept in mask.items()},
        "live_path": None if effective is None else effective > 0,
        "effective_density": None if effective is None else effective / total,
        "max_compression": total / len(mask),
        "feasible": left >= len(mask),
    }


def _dead(kept: Tensor, axis: int) -> int:
    """How many channels along an axis have no weight left; none, if there is no such axis."""
    if kept.ndim <= axis:
        return 0
    alive = kept.movedim(axis, 0).unsqueeze(-1).flatten(1).any(1)
    return int(alive.numel() - alive.sum())


def _effective(mask: Mask, model: nn.Module, input_shape: tuple[int, ...]) -> int | None:
    """The number of kept weights that lie on a path from input to output."""
    try:
        live = live_weights(mask, model, input_shape)
    except Mismatch:
        return None
    return sum(int(kept.sum()) for kept in live.values())


def live_weights(mask: Mask, model: nn.Module, input_shape: tuple[int, ...]) -> Mask:
    """The kept weights on a path from input to output along kept weights.

    Layers that the mask does not cover count whole. Raises Mismatch if torch.fx cannot trace the
    model.
    """
    paths = _Paths(model, mask)
    total = paths.total(input_shape)
    slopes = torch.autograd.grad(total, list(paths.gates.values()), materialize_grads=True)
    reached = dict(zip(paths.gates, slopes, strict=True))
    return {name: kept & (reached[name] > 0).to(kept.device) for name, kept in mask.items()}


class _Paths(Flow):
    """Layers pass on 1 where any kept weight connects an output to a live input, else 0.

    A weight matters to the sum of the outputs just if a path leads through it. Sums are brought
    back to 1 at every layer, or else there would be more paths than a float64 can count.
    """

    def __init__(self, model: nn.Module, mask: Mapping[str, Tensor]) -> None:
        super().__init__(model)
        self.mask = mask
        self.gates: dict[str, Tensor] = {}

    def layer(self, name: str, module: Layer, x: Tensor) -> Tensor:
        name = f"{name}.weight"
        if name not in self.gates:
            kept = self.mask.get(name, torch.ones(module.weight.shape))
            self.gates[name] = kept.to(x).requires_grad_()
        bias = {} if module.bias is None else {"bias": torch.zeros_like(module.bias, dtype=x.dtype)}
        y: Tensor = functional_call(module, {"weight": self.gates[name], **bias}, (x,))
        return y / y.detach().where(y > 0, 1.0)
