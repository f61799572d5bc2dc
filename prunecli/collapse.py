"""What a mask does to a network as a whole: what is dead, and what still carries a signal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from prunecli.errors import Mismatch
from prunecli.graph import Flow, Layer, grouped
from prunecli.masks import dead_layers, prunable
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
    channels = {name: _by_channel(name, kept, model) for name, kept in mask.items()}
    effective = None if model is None else _effective(mask, model, input_shape)
    return {
        "dead_layers": dead_layers(mask),
        "dead_inputs": {name: _dead(kept, (1, 3)) for name, kept in channels.items()},
        "dead_outputs": {name: _dead(kept, (2, 3)) for name, kept in channels.items()},
        "live_path": None if effective is None else effective > 0,
        "effective_density": None if effective is None else effective / total,
        "max_compression": total / len(mask),
        "feasible": left >= len(mask),
    }


def _by_channel(name: str, kept: Tensor, model: nn.Module | None) -> Tensor:
    """As [groups, outputs, inputs, kernel]; of an unknown layer as of one that has no groups."""
    if model is not None:
        return grouped(model.get_submodule(name.removesuffix("weight").rstrip(".")), kept)
    inputs = kept.shape[1] if kept.ndim > 1 else 1
    return kept.reshape(1, kept.shape[0], inputs, -1) if kept.numel() else kept.new_ones(1, 1, 1, 1)


def _dead(kept: Tensor, others: tuple[int, int]) -> int:
    """How many channels have no weight left, in all groups."""
    alive = kept.any(others[1]).any(others[0])
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
        self.names = {weight: name for name, weight in prunable(model).items()}
        self.gates: dict[str, Tensor] = {}

    def layer(self, name: str, module: Layer, x: Tensor) -> Tensor:
        name = self.names[module.weight]  # of several that share a weight, the first
        if name not in self.gates:
            kept = self.mask.get(name, torch.ones(module.weight.shape))
            self.gates[name] = kept.to(x).requires_grad_()
        bias = {} if module.bias is None else {"bias": torch.zeros_like(module.bias, dtype=x.dtype)}
        y: Tensor = functional_call(module, {"weight": self.gates[name], **bias}, (x,))
        return y / y.detach().where(y > 0, 1.0)
