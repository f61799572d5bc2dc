"""The effect of a mask on the whole network: what is dead, what still carries a signal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.func import functional_call

from prunecli.errors import Mismatch
from prunecli.files.records import Collapse
from prunecli.files.roles import ALL_OI, Layouts
from prunecli.network.flow import Flow
from prunecli.network.graph import Layer, grouped
from prunecli.tensors.parts import PART, Parted, in_memory, parted, whole
from prunecli.types import Mask


def diagnosis(
    mask: Parted | Mask,
    model: nn.Module | None = None,
    input_shape: tuple[int, ...] = (),
    layouts: Layouts = ALL_OI,
) -> Collapse:
    """The diagnosis of a mask, and of its network if it is known and can be traced.

    Without a network, `layouts` give the channel axes; weights of unknown layout have no counts.
    """
    bits = parted(mask)
    total = sum(map(math.prod, bits.shapes.values()))
    layers = {
        name: _left(bits, name, layouts) if model is None else _grouped(bits, name, model)
        for name in bits.shapes
    }
    known = {name: layer for name, layer in layers.items() if layouts.get(name, "oi")}
    effective = None if model is None else _effective(in_memory(bits), model, input_shape)
    return Collapse(
        dead_layers=tuple(name for name, layer in layers.items() if not layer.kept),
        dead_inputs={name: layer.dead_inputs for name, layer in known.items()},
        dead_outputs={name: layer.dead_outputs for name, layer in known.items()},
        live_path=None if effective is None else effective > 0,
        effective_density=None if effective is None else effective / total,
        max_compression=total / len(layers),
        feasible=sum(layer.kept for layer in layers.values()) >= len(layers),
    )


class _Left(NamedTuple):
    """What is left of a layer: its kept weights, and the channels without any."""

    kept: int
    dead_inputs: int
    dead_outputs: int


def _grouped(mask: Parted, name: str, model: nn.Module) -> _Left:
    kept = whole(mask, name)
    by_channel = grouped(model.get_submodule(name.rpartition(".")[0]), kept)
    inputs, outputs = (by_channel.any(3).any(axis) for axis in (1, 2))
    return _Left(int(kept.sum()), int((~inputs).sum()), int((~outputs).sum()))


def _left(mask: Parted, name: str, layouts: Layouts) -> _Left:
    """What is left of a layer, by its layout, without a network."""
    order = layouts.get(name, "oi") or "oi"
    if order.startswith("e"):
        return _of_experts(mask, name, order)
    left = _streamed(mask, name)
    return left if order == "oi" else _Left(left.kept, left.dead_outputs, left.dead_inputs)


def _of_experts(mask: Parted, name: str, order: str) -> _Left:
    """What is left of stacked experts, read one by one; channels add up over experts."""
    kept = rows = columns = 0
    _, *matrix = mask.shapes[name]
    for part in mask.parts(name, math.prod(matrix)):
        weights = part.reshape(matrix)
        kept += int(weights.count_nonzero())
        rows += int((~weights.any(1)).sum())
        columns += int((~weights.any(0)).sum())
    return _Left(kept, *((rows, columns) if order == "eio" else (columns, rows)))


def _streamed(mask: Parted, name: str) -> _Left:
    """What is left of a layer, assumed to have no groups, read a few outputs at a time."""
    outputs, inputs, *kernel = (*mask.shapes[name], 1)[: max(2, len(mask.shapes[name]))]
    row = inputs * math.prod(kernel)
    if not outputs * row:
        return _Left(0, 0, 0)
    rows = max(8, PART // row // 8 * 8)
    kept = dead_outputs = 0
    alive = np.zeros(inputs, dtype=bool)
    for part in mask.parts(name, rows * row):
        weights = part.numpy().reshape(-1, inputs, row // inputs)
        kept += int(np.count_nonzero(weights))
        dead_outputs += len(weights) - int(np.count_nonzero(weights.any((1, 2))))
        alive |= weights.any((0, 2))
    return _Left(kept, inputs - int(np.count_nonzero(alive)), dead_outputs)


def _effective(mask: Mask, model: nn.Module, input_shape: tuple[int, ...]) -> int | None:
    """The number of kept weights on a path from input to output; None if unknown."""
    try:
        live = live_weights(mask, model, input_shape)
    except Mismatch:
        return None
    return sum(int(kept.sum()) for kept in live.values())


def live_weights(mask: Mask, model: nn.Module, input_shape: tuple[int, ...]) -> Mask:
    """The kept weights on a path from input to output along kept weights.

    Layers that the mask does not cover count as unpruned. Raises Mismatch for a model that torch.fx
    cannot trace, or that uses its parameters in a way that `Flow` does not support.
    """
    paths = _Paths(model, input_shape, mask)
    total = paths.total()
    slopes = torch.autograd.grad(total, list(paths.gates.values()), materialize_grads=True)
    reached = {name: slope > 0 for name, slope in zip(paths.gates, slopes, strict=True)}
    # A layer without a gate is not used by the model.
    return {name: kept & reached[name].to(kept.device) if name in reached else kept & False
            for name, kept in mask.items()}  # fmt: skip


class _Paths(Flow):
    """Layers give 1 where any kept weight connects an output to a live input, else 0.

    The summed output has a positive gradient at a weight exactly if a path leads through it. Every
    layer's output is scaled back to 1, or the number of paths would overflow float64.
    """

    def __init__(
        self, model: nn.Module, input_shape: tuple[int, ...], mask: Mapping[str, Tensor]
    ) -> None:
        super().__init__(model, input_shape)
        self.mask = mask
        self.gates: dict[str, Tensor] = {}

    def factor(self, value: Tensor) -> Tensor:
        return (value != 0).double()

    def gain(self, value: Tensor) -> Tensor:
        # 1 even for a zero gain: a residual branch's last may start at zero and be trained.
        return torch.ones_like(value)

    def layer(self, call: fx.Node, module: Layer, x: Tensor) -> Tensor:
        name = self.weights[call]
        if "weight" not in dict(module.named_parameters(recurse=False)):
            # Substituting it would overwrite what it is computed from.
            raise Mismatch(f"the weight of {str(call.target)!r} is computed from others")
        if name not in self.gates:
            kept = self.mask.get(name, torch.ones(module.weight.shape))
            self.gates[name] = kept.to(x).requires_grad_()
        bias = {} if module.bias is None else {"bias": torch.zeros_like(module.bias, dtype=x.dtype)}
        y: Tensor = functional_call(module, {"weight": self.gates[name], **bias}, (x,))
        return y / y.detach().where(y > 0, 1.0)
