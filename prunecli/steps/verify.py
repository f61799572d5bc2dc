"""`verify`: whether a checkpoint is what its metadata and its mask say."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from torch import Tensor

from prunecli.errors import Mismatch, NotFinite, printable, some
from prunecli.files.artifacts import MaskFile, open_artifact
from prunecli.files.tensors import TensorFile
from prunecli.masks import WHOLE, all_finite, kept_counts, zero_
from prunecli.parts import one_thread
from prunecli.steps._common import fitting_mask


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
    """Masked weights are +0.0, all bits of them: -0.0 is none, and neither is NaN."""
    faults = []
    for name in mask.shapes:
        both = zip(file.parts(name), mask.parts(name), strict=True)
        if count := sum(_with_bits(zero_(weights, ~kept)) for weights, kept in both):
            faults.append(f"{count:,} masked weights of {name!r} are not zero")
    return faults


def _with_bits(weights: Tensor) -> int:
    return int(weights.view(WHOLE[weights.element_size()]).count_nonzero())


def _other_mask(file: TensorFile, mask: TensorFile) -> list[str]:
    if file.meta is None:
        return []
    own = (file.meta.get("mask") or {}).get("sha256")
    if own is None:
        return ["its metadata names no mask"]
    if own != mask.sha256:
        return [f"its metadata names the mask {printable(own)}, but {mask.label} is {mask.sha256}"]
    return []


def _too_dense(file: TensorFile) -> list[str]:
    """Weights that are there although the metadata says they are not."""
    kept = ((file.meta or {}).get("density") or {}).get("kept") or {}
    faults = []
    for name, count in kept.items():
        if name not in file:
            faults.append(f"its metadata speaks of {name!r}, which is not there")
        elif (there := sum(int((p != 0).sum()) for p in file.parts(name))) > count:
            faults.append(f"{name!r} has {there:,} weights, but {count:,} by its metadata")
    return faults
