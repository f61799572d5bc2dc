"""`verify`: whether a checkpoint matches its metadata and its mask."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from prunecli.errors import Mismatch, NotFinite, printable, some
from prunecli.files.artifacts import MaskFile, open_artifact
from prunecli.files.records import CheckpointRecord
from prunecli.files.tensors import TensorFile
from prunecli.masks.fitting import fitting_mask
from prunecli.masks.mask import kept_counts
from prunecli.tensors.finite import all_finite
from prunecli.tensors.parts import one_thread
from prunecli.tensors.zeros import WHOLE, magnitudes, zero_


@one_thread()
def verify(checkpoint: Path, mask: Path | None = None) -> dict[str, Any]:
    """Check values, densities, and with a mask its shapes, its zeros and its place in the lineage.

    Gives what was found. Raises BadInput for a file that cannot be read, Mismatch with one fault a
    line, NotFinite naming tensors that hold NaN or infinity.
    """
    file = open_artifact(checkpoint, "checkpoint")
    file.hash_ahead()
    faults = _too_dense(file)
    facts: dict[str, Any] = {"checkpoint": file.sha256, "tensors": len(file), "mask": None}
    if mask is not None:
        kept = fitting_mask(mask, file)
        removed = sum(map(math.prod, kept.shapes.values())) - sum(kept_counts(kept).values())
        facts |= {"mask": kept.file.sha256, "zeros": removed, "masked": len(kept.shapes)}
        faults += _not_zero(file, kept) + _other_mask(file, kept.file)
    if faults:
        raise Mismatch("\n".join(f"{file.label}: {fault}" for fault in faults))
    bad = [name for name in file if not all(map(all_finite, file.parts(name)))]
    if bad:
        raise NotFinite(f"{file.label}: {some(bad)} hold NaN or infinity")
    return facts


def _not_zero(file: TensorFile, mask: MaskFile) -> list[str]:
    """Faults of masked weights that are not +0.0, all bits of them: -0.0 is none, nor is NaN."""
    there: dict[str, int] = {}
    minus: dict[str, int] = {}
    for name in mask.shapes:
        for part, kept in zip(file.parts(name), mask.parts(name), strict=True):
            weights = zero_(part, ~kept)
            bits = int(weights.view(WHOLE[weights.element_size()]).count_nonzero())
            if bits:
                values = int(np.count_nonzero(magnitudes(weights)))
                there[name] = there.get(name, 0) + values
                minus[name] = minus.get(name, 0) + bits - values
    ends = ((there, "not zero"), (minus, MINUS))
    return [f"{_counted(found)} are {what}" for found, what in ends if any(found.values())]


MINUS = "-0.0, as a weight times its mask gives, not +0.0; 'prunecli apply' fixes it"


def _counted(found: Mapping[str, int]) -> str:
    names = [name for name, count in found.items() if count]
    return f"{sum(found.values()):,} masked weights of {some(names)}"


def _other_mask(file: TensorFile, mask: TensorFile) -> list[str]:
    if file.record is None:
        return []
    own = file.says(CheckpointRecord).mask
    if own is None:
        return ["its metadata names no mask"]
    if own.sha256 != mask.sha256:
        named = printable(own.sha256)
        return [f"its metadata names the mask {named}, but {mask.label} is {mask.sha256}"]
    return []


def _too_dense(file: TensorFile) -> list[str]:
    """Faults of layers with more weights than the metadata says."""
    density = file.says(CheckpointRecord).density
    kept = density.kept if density else {}
    faults = []
    if missing := [name for name in kept if name not in file]:
        faults.append(f"its metadata names {some(missing)}, which is missing")
    there = {name: _weights(file, name) for name in kept if name in file}
    if over := [name for name in there if there[name] > kept[name]]:
        name, more = over[0], f", as well as {some(over[1:])}" if over[1:] else ""
        counts = f"{there[name]:,} nonzero weights, but its metadata says {kept[name]:,}"
        faults.append(f"{name!r} has {counts}{more}")
    return faults


def _weights(file: TensorFile, name: str) -> int:
    return sum(int((part != 0).sum()) for part in file.parts(name))
