"""A checkpoint with a mask applied while it is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial

from torch import Tensor

from prunecli.files.artifacts import MaskFile, metadata
from prunecli.files.parsing import with_nulls
from prunecli.files.records import CheckpointRecord
from prunecli.files.tensors import TensorFile
from prunecli.files.unwritten import taken
from prunecli.masks.left import left_over
from prunecli.masks.lineage import mask_origin
from prunecli.runtime.versions import versions
from prunecli.tensors.parts import Made
from prunecli.tensors.zeros import zero_


def described(file: TensorFile, kept: MaskFile) -> str:
    """The metadata of the new checkpoint, as JSON."""
    file.hash_ahead()
    density = left_over(file, kept)
    record = replace(
        with_nulls(file.says(CheckpointRecord), "model", "seed"),
        parent=file.sha256,
        prunable=tuple(density.kept),
        mask=mask_origin(kept.file),
        density=density,
        versions=versions(),
    )
    return metadata(record)["prunecli"]


def masked(file: TensorFile, kept: MaskFile, name: str) -> Made:
    """One of its tensors, with pruned weights set to +0.0."""
    return taken(file, name, partial(_parts, file, kept, name))


def _parts(file: TensorFile, kept: MaskFile, name: str) -> Iterable[Tensor]:
    return _zeroed(file, kept, name) if name in kept.shapes else file.parts(name)


def _zeroed(file: TensorFile, kept: MaskFile, name: str) -> Iterator[Tensor]:
    for part, bits in zip(file.parts(name), kept.parts(name), strict=True):
        yield zero_(part, bits)
