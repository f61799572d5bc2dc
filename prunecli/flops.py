"""Floating-point operations of a forward pass, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


@torch.no_grad()
def count_flops(model: nn.Module, input_shape: tuple[int, int, int]) -> tuple[int, dict[str, int]]:
    """FLOPs of one image: in all, and per Conv or Linear weight.

    A multiplication and an addition are two operations. Convolutions and matrix products count,
    biases and elementwise layers do not. Those of a weight are the ones done by modules that hold
    it: what other modules do with it, as attention does, counts in all and for no weight.
    """
    parameter = next(model.parameters())
    image = torch.zeros(1, *input_shape, device=parameter.device, dtype=parameter.dtype)
    training = model.training
    with FlopCounterMode(display=False) as counter:
        model.eval()(image)
    model.train(training)
    counts = {place: sum(ops.values()) for place, ops in counter.get_flop_counts().items()}
    root = type(model).__name__
    names = {id(weight): name for name, weight in model.named_parameters()}
    modules = dict(model.named_modules(remove_duplicate=False))
    layers: dict[str, int] = {}
    for place, flops in counts.items():
        if place.startswith(f"{root}."):
            module = place.removeprefix(f"{root}.")
            weight = getattr(modules.get(module), "weight", None)
            name = names.get(id(weight), f"{module}.weight")  # two layers may share a weight
            layers[name] = layers.get(name, 0) + flops
    return counts.get("Global", 0), layers


def sparse_flops(total: int, layers: Mapping[str, int], densities: Mapping[str, float]) -> int:
    """What is left of `total` when each layer's operations shrink with its density."""
    saved = sum(layers.get(name, 0) * (1 - d) for name, d in densities.items())
    return round(total - saved)
