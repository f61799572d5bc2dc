"""What every step is given and needs: where to write, how to run, where things come from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

import prunecli
from prunecli import registry
from prunecli.collapse import diagnosis
from prunecli.errors import BadInput, Mismatch, PruneError, some
from prunecli.files.artifacts import MaskFile, check_mask_fits
from prunecli.files.tensors import DTYPES, TensorFile
from prunecli.masks import kept_counts, prunable, prunable_names
from prunecli.parts import Parted, held, parted
from prunecli.roles import ALL_OI, Layouts
from prunecli.seeds import derive_seed
from prunecli.shortage import raise_shortage
from prunecli.steps._network import (
    UNFIT,
    at_hand,
    build_model,
    built_small,
    check_maskable,
    most_values,
    on_meta,
)
from prunecli.types import Mask, Progress
from prunecli.zeros import SIGNED, UNSIGNED


@dataclass(frozen=True)
class Common:
    """The options that all steps share."""

    output: Path | None = None
    force: bool = False
    wait: bool = False
    dry_run: bool = False
    device: str = "auto"
    seed: int | None = None
    progress: Progress = field(default_factory=Progress)


@cache
def versions() -> dict[str, str]:
    """Of what computes; asked of the installation, since importing torchvision takes long."""
    return {
        "prunecli": prunecli.__version__,
        "torch": torch.__version__,
        **{name: version(name) for name in ("numpy", "torchvision")},
    }


def open_mask(path: Path, checkpoint: TensorFile) -> tuple[Mask, TensorFile]:
    """A mask that fits the checkpoint, and its file."""
    mask = fitting_mask(path, checkpoint)
    return held(mask), mask.file


def fitting_mask(path: Path, checkpoint: TensorFile) -> MaskFile:
    """As `open_mask`, to be read part by part. Raises BadInput where it masks no weight.

    Raises Mismatch where it masks what the checkpoint's network has no layer for.
    """
    mask = MaskFile(path)
    empty = [name for name, shape in mask.shapes.items() if not math.prod(shape)]
    if empty or not mask.shapes:
        what = f"no weight of {some(empty)}" if empty else "no weight"
        raise BadInput(f"{mask.file.label}: it masks {what}; make the mask again")
    check_mask_fits(mask.shapes, checkpoint.shapes, mask.file.label, checkpoint.label)
    if odd := [
        n for n in mask.shapes if DTYPES.get(checkpoint.entry(n).dtype) not in SIGNED | UNSIGNED
    ]:
        what = f"it masks {odd[0]!r}, which is {checkpoint.entry(odd[0]).dtype} in"
        raise Mismatch(f"{mask.file.label}: {what} {checkpoint.label}: it cannot be made zero")
    if (checkpoint.meta or {}).get("model"):
        check_maskable(mask.shapes, prunable_names(checkpoint), mask.file.label)
    return mask


def mask_lineage(file: TensorFile, epochs: int = 0) -> dict[str, Any]:
    """What a checkpoint or a result says of its mask; `epochs` were trained under it."""
    meta = file.meta or {}
    keys = (
        "method", "options", "scope", "rounds", "schedule", "seed", "asked", "count", "total",
        "kept", "left_out", "scoring",
    )  # fmt: skip
    own = {"nested": meta.get("mask") is not None, "sha256": file.sha256, "epochs": epochs}
    return {key: meta.get(key) for key in keys} | own


def density_facts(mask: Mask) -> dict[str, Any]:
    """Kept weights and their fraction, per tensor and over all."""
    return facts_of(kept_counts(mask), {name: bits.numel() for name, bits in mask.items()})


def collapse_facts(
    mask: Parted | Mask,
    described: Mapping[str, Any] | None,
    shapes: Mapping[str, tuple[int, ...]],
    layouts: Layouts = ALL_OI,
) -> dict[str, Any]:
    """The diagnosis, with the network's part where the network is known and can be built.

    `shapes` are those of the file that describes the network: it may not be far larger.
    """
    model = None
    if described:
        try:
            model = _covered(parted(mask), described, shapes)
        except (PruneError, *UNFIT) as error:
            raise_shortage(error)
    return diagnosis(mask, model, tuple(described["input_shape"]) if described else (), layouts)


def _covered(
    mask: Parted, described: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
) -> nn.Module | None:
    """The network that is described, if the mask may be its, and the shapes of what there is."""
    bare = built_small(described, shapes)
    own = {name: tuple(weight.shape) for name, weight in prunable(bare).items()}
    values = sum(tensor.numel() for tensor in bare.state_dict().values())
    fits = mask.shapes.items() <= own.items() and values <= most_values(shapes)
    if not (fits and at_hand(bare, described)):
        return None
    return (build_model(described) if on_meta(bare) else bare).eval()


def left_over(checkpoint: TensorFile, mask: Parted | Mask) -> dict[str, Any]:
    """`density_facts` of a checkpoint's prunable weights once `mask` is applied to it.

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
    return facts_of(kept, sizes)


def kept_bits(checkpoint: TensorFile, mask: Mask, *, own: bool = False) -> Mask:
    """Which of a checkpoint's prunable weights are left once `mask` is applied; see `left_over`.

    Under its `own` mask a weight that is kept may well be zero, as some are initialised.
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

    In a file that is not prunecli's, any tensor may be masked; see `masks.chosen`.
    """
    names = dict.fromkeys([*prunable_names(checkpoint), *masked])
    sizes = {name: checkpoint.entry(name).numel for name in names}
    if not sizes:
        raise Mismatch(f"{checkpoint.label}: it has no weight to prune")
    kept = ((checkpoint.meta or {}).get("density") or {}).get("kept", {})
    return sizes, {name: kept.get(name, size) for name, size in sizes.items()}


def facts_of(kept: Mapping[str, int], sizes: Mapping[str, int]) -> dict[str, Any]:
    return {
        "kept": dict(kept),
        "overall": sum(kept.values()) / sum(sizes.values()),
        "per_tensor": {name: kept[name] / sizes[name] for name in kept},
    }


def options_with_seed(
    function: Callable[..., Any], options: Mapping[str, Any], seed: int, *parts: object
) -> dict[str, Any]:
    """The options; a function that takes a seed gets one derived from its own, or else from `seed`.

    `parts` tell apart the calls that must not draw the same numbers.
    """
    if "seed" not in registry.options(function):
        return dict(options)
    return {**options, "seed": derive_seed(options.get("seed", seed), *parts)}
