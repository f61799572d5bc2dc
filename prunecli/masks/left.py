"""The density of a checkpoint under a mask."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch

from prunecli.errors import Mismatch
from prunecli.files.records import CheckpointRecord, Density
from prunecli.files.tensors import TensorFile
from prunecli.masks.mask import kept_counts
from prunecli.masks.targets import prunable_names
from prunecli.tensors.parts import Parted, parted
from prunecli.types import Mask


def density_of(mask: Mask) -> Density:
    """Kept weights and their fraction, per tensor and over all."""
    return density_from(kept_counts(mask), {name: bits.numel() for name, bits in mask.items()})


def left_over(checkpoint: TensorFile, mask: Parted | Mask) -> Density:
    """The density of a checkpoint's prunable weights once `mask` is applied to it.

    Where an earlier mask had removed weights already, both count: a weight is kept if the mask
    keeps it and it is not zero.
    """
    given = parted(mask)
    sizes, before = _recorded(checkpoint, given.shapes)
    kept = dict(before)
    for name in given.shapes:
        bits = given.parts(name)
        if before[name] < sizes[name]:
            weights = checkpoint.parts(name)
            bits = (part & (weight != 0) for part, weight in zip(bits, weights, strict=True))
        kept[name] = sum(int(part.count_nonzero()) for part in bits)
    return density_from(kept, sizes)


def kept_bits(checkpoint: TensorFile, mask: Mask, *, own: bool = False) -> Mask:
    """The prunable weights of a checkpoint that are left once `mask` is applied; see `left_over`.

    Under its `own` mask a kept weight can be zero, since some are initialised to zero.
    """
    sizes, before = _recorded(checkpoint, mask)
    bits = {}
    for name in before:
        kept = mask.get(name, torch.ones(checkpoint.shapes[name], dtype=torch.bool))
        known = before[name] == (int(kept.count_nonzero()) if own else sizes[name])
        bits[name] = kept if known else kept & (checkpoint[name] != 0)
    return bits


def _recorded(
    checkpoint: TensorFile, masked: Iterable[str]
) -> tuple[dict[str, int], dict[str, int]]:
    """Size and number of kept weights of each tensor that is prunable or masked, as the file says.

    In a file that prunecli did not write, any tensor can be masked; see `targets.chosen`.
    """
    names = dict.fromkeys([*prunable_names(checkpoint), *masked])
    sizes = {name: checkpoint.entry(name).numel for name in names}
    if not sizes:
        raise Mismatch(f"{checkpoint.label}: it has no weight to prune")
    density = checkpoint.says(CheckpointRecord).density
    kept = density.kept if density else {}
    return sizes, {name: kept.get(name, size) for name, size in sizes.items()}


def density_from(kept: Mapping[str, int], sizes: Mapping[str, int]) -> Density:
    """The density of tensors of these sizes with these numbers of kept weights."""
    return Density(
        kept=dict(kept),
        overall=sum(kept.values()) / sum(sizes.values()),
        per_tensor={name: kept[name] / sizes[name] for name in kept},
    )
