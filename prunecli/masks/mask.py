"""Applying a mask to weights, and counting what it keeps."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from prunecli.tensors.parts import Parted, parted
from prunecli.tensors.zeros import zero_
from prunecli.types import Mask


@torch.no_grad()
def apply_(params: Mapping[str, Tensor], mask: Mask) -> None:
    """Set pruned weights to exactly +0.0, in place."""
    for name, kept in mask.items():
        zero_(params[name], kept)


def aligned(mask: Mask, params: Mapping[str, Tensor]) -> Mask:
    """The mask on the weights' device and in their memory format, so that applying it is fast."""
    return {
        name: torch.empty_like(params[name], dtype=torch.bool).copy_(kept)
        for name, kept in mask.items()
    }


def kept_counts(mask: Parted | Mask) -> dict[str, int]:
    bits = parted(mask)
    return {
        name: sum(int(part.count_nonzero()) for part in bits.parts(name)) for name in bits.shapes
    }


def density(mask: Parted | Mask) -> float:
    """The fraction of weights kept, over all that the mask covers."""
    return sum(kept_counts(mask).values()) / sum(map(math.prod, parted(mask).shapes.values()))


def dead_layers(mask: Mask) -> list[str]:
    """The dead layers: those without any weight left (layer collapse)."""
    return [name for name, kept in mask.items() if not kept.any()]


def exact_count(fraction: float, total: int) -> int:
    """round(fraction * total), halves to even; the number of weights that a density keeps."""
    return min(total, max(0, round(fraction * total)))
