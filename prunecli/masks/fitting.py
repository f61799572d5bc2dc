"""Masks that fit a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable
from pathlib import Path

from prunecli.errors import BadInput, Mismatch, some
from prunecli.files.artifacts import MaskFile, check_mask_fits, open_artifact
from prunecli.files.records import CheckpointRecord
from prunecli.files.tensors import DTYPES, TensorFile
from prunecli.masks.targets import PRUNED_MODULES, prunable_names
from prunecli.tensors.parts import in_memory
from prunecli.tensors.zeros import SIGNED, UNSIGNED
from prunecli.types import Mask


def open_mask(path: Path, checkpoint: TensorFile) -> tuple[Mask, TensorFile]:
    """A mask that fits the checkpoint, and its file."""
    mask = fitting_mask(path, checkpoint)
    return in_memory(mask), mask.file


def fitting_mask(path: Path, checkpoint: TensorFile) -> MaskFile:
    """The mask that `open_mask` opened, to be read in chunks."""
    return fitting(MaskFile(open_artifact(path, "mask")), checkpoint)


def fitting(mask: MaskFile, checkpoint: TensorFile) -> MaskFile:
    """The mask, if it fits the checkpoint. Raises BadInput where it masks no weight.

    Raises Mismatch where it masks what the checkpoint's network has no layer for.
    """
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
    if checkpoint.says(CheckpointRecord).model:
        check_maskable(mask.shapes, prunable_names(checkpoint), mask.file.label)
    return mask


def check_maskable(names: Iterable[str], prunable: Container[str], label: str) -> None:
    """Raise Mismatch for what is masked, or to be, and is no weight that may be pruned."""
    if odd := [name for name in names if name not in prunable]:
        raise Mismatch(f"{label}: {some(odd)} are not weights of {PRUNED_MODULES}")
