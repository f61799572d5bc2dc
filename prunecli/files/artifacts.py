"""The kinds of file prunecli writes, and how each is laid out in safetensors.

    checkpoint   a plain state_dict; loads anywhere without prunecli
    scores       one float32 tensor per scored weight; -inf marks a weight pruned earlier
    mask         one U8 tensor per weight: its kept/pruned bits, packed little-endian
    state        an interrupted training run: weights, optimizer, random numbers, position

Each carries one metadata key, `prunecli`, holding canonical JSON: schema, kind and lineage. It
never holds a time, a host or an absolute path, so the same command writes the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from prunecli.errors import BadInput, Mismatch, printable, some
from prunecli.files.atomic import Files, write_tensors
from prunecli.files.bits import Packed, packed, unpacked
from prunecli.files.parsing import table
from prunecli.files.records import CheckpointRecord, FileRecord, MaskRecord
from prunecli.files.tensors import Form, TensorFile
from prunecli.runtime.facts import canonical
from prunecli.tensors.parts import PART, Made, Parted, in_memory, parted
from prunecli.types import Mask

SCHEMA = 1
USES = {
    "mask": "; give a mask with --mask",
    "scores": "; 'prunecli mask' makes a mask from scores",
    "state": "; --resume continues from it",
    "checkpoint": "; 'prunecli mask' makes a mask from a checkpoint",
}
"""What a file that was given in another's place is good for."""
PRUNED = -math.inf  # the score of a weight that an earlier mask removed


def write_artifact(
    path: Path,
    tensors: Mapping[str, Tensor | Made],
    record: FileRecord,
    files: Files | None = None,
) -> None:
    """Write tensors and what the file says of them, atomically and canonically; see `Files`."""
    write_tensors(path, tensors, metadata(record), files)


def metadata(record: FileRecord) -> dict[str, str]:
    """The metadata in the header of a file."""
    return {"prunecli": canonical({**table(record), "schema": SCHEMA, "kind": record.kind})}


def open_artifact(path: Path, *kinds: str) -> TensorFile:
    """Open a file that must be one of `kinds`; a file prunecli never saw counts as a checkpoint.

    Raises BadInput naming what the file is and which kind was due.
    """
    file = TensorFile(path)
    kind = kind_of(file)
    if kind not in kinds:
        found, wanted = printable(kind), " or ".join(kinds)
        what = f"it is a {found} file, but a {wanted} file is needed here"
        raise BadInput(f"{file.label}: {what}{USES.get(kind, '')}")
    schema = SCHEMA if file.meta is None else file.meta.get("schema")
    if schema != SCHEMA:
        what = "it was written by another version of prunecli"
        raise BadInput(f"{file.label}: its schema {schema!r} is not {SCHEMA}; {what}")
    _ = file.record  # a file that lies is refused here
    return file


def kind_of(file: TensorFile) -> str:
    return "checkpoint" if file.meta is None else str(file.meta["kind"])


def read_state_dict(checkpoint: TensorFile) -> dict[str, Tensor]:
    """All tensors of a checkpoint, tied ones under each of their names."""
    tensors = dict(checkpoint)
    return tensors | {alias: tensors[name] for alias, name in _tied(checkpoint).items()}


def state_forms(checkpoint: TensorFile) -> dict[str, Form]:
    """The forms of what `read_state_dict` reads, without reading it."""
    forms = checkpoint.forms
    return forms | {alias: forms[name] for alias, name in _tied(checkpoint).items()}


def _tied(checkpoint: TensorFile) -> dict[str, str]:
    """The name that stands in the file, by each other name of the same tensor."""
    tied = checkpoint.says(CheckpointRecord).tied or {}
    for alias, name in tied.items():
        if name not in checkpoint:
            raise BadInput(f"{checkpoint.label}: {alias!r} is tied to {name!r}, which is missing")
    return dict(tied)


def untied(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors to store, one of those that are one and the same; and alias -> name."""
    first: dict[tuple[Any, ...], str] = {}
    kept: dict[str, Tensor] = {}
    tied: dict[str, str] = {}
    for name, tensor in tensors.items():
        memory = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype, tensor.device)
        if tensor.numel() and memory in first:
            tied[name] = first[memory]
        else:
            first[memory], kept[name] = name, tensor
    return kept, tied


def write_mask(
    path: Path, mask: Parted | Mask, record: MaskRecord, files: Files | None = None
) -> None:
    """Write a mask, one bit a weight. Its shapes are put into the record."""
    write_artifact(path, mask_tensors(mask), replace(record, shapes=parted(mask).shapes), files)


def mask_tensors(mask: Parted | Mask) -> dict[str, Made]:
    """The tensors of a mask's file."""
    kept = parted(mask)
    return {
        name: Made(torch.uint8, (-(-math.prod(shape) // 8),), partial(_bytes, kept, name))
        for name, shape in kept.shapes.items()
    }


def _bytes(mask: Parted, name: str) -> Iterable[Tensor]:
    return mask.bytes(name) if isinstance(mask, Packed) else packed(mask.parts(name))


class MaskFile:
    """A mask in a file, read in chunks; see `parts.Parted`.

    Raises BadInput for shapes and bits that cannot be a mask's, the latter when they are read.
    """

    def __init__(self, file: TensorFile) -> None:
        self.file = file
        shapes = file.says(MaskRecord).shapes or {}
        if set(shapes) != set(file):
            raise BadInput(
                f"{file.label}: its shapes do not match its tensors; make the mask again"
            )
        for name, shape in shapes.items():
            _check_bits(file, name, shape)
        self.shapes = {name: shapes[name] for name in file}

    def parts(self, name: str, size: int = PART) -> Iterator[Tensor]:
        try:
            yield from unpacked(self.file.parts(name, size // 8), math.prod(self.shapes[name]))
        except ValueError as error:
            raise BadInput(f"{self.file.label}: mask {name!r} {error}; it is damaged") from None


def _check_bits(file: TensorFile, name: str, shape: tuple[int, ...]) -> None:
    entry, count = file.entry(name), math.prod(shape)
    if entry.dtype != "U8" or entry.shape != (-(-count // 8),):
        bits = f"the {count:,} bits of {list(shape)}"
        raise BadInput(f"{file.label}: mask {name!r} does not hold {bits}")


def read_mask(path: Path) -> tuple[Mask, TensorFile]:
    """A mask, in memory, and the file it came from. Raises what a `MaskFile` raises."""
    mask = MaskFile(open_artifact(path, "mask"))
    return in_memory(mask), mask.file


def check_mask_fits(
    mask: Mapping[str, tuple[int, ...]],
    shapes: Mapping[str, tuple[int, ...]],
    mask_label: str,
    label: str,
) -> None:
    """Raise Mismatch unless every masked name, with its shape, is a tensor of the checkpoint."""
    missing = [name for name in mask if name not in shapes]
    if missing:
        raise Mismatch(
            f"{mask_label}: it masks {some(missing)}, which {label} does not have; "
            "rebuild it with 'prunecli mask'"
        )
    wrong = [name for name, shape in mask.items() if tuple(shape) != tuple(shapes[name])]
    if wrong:
        first, *others = wrong
        verb = "differs" if len(others) == 1 else "differ"
        also = f" ({some(others, 2)} {verb} too)" if others else ""
        raise Mismatch(
            f"{mask_label}: mask {first!r} is {list(mask[first])} but {label} has "
            f"{list(shapes[first])}{also}; rebuild it with 'prunecli mask'"
        )


class ScoresFile:
    """The scores in a file, read in chunks; see `parts.Parted`.

    Only `names`, if they are given. What a mask `before` removed scores `PRUNED`.
    """

    def __init__(
        self, file: TensorFile, before: Parted | None = None, names: Iterable[str] | None = None
    ) -> None:
        self.file, self.before = file, before
        self.shapes = {name: file.shapes[name] for name in (file if names is None else names)}
        for name in self.shapes:
            if file.entry(name).dtype != "F32":
                raise BadInput(f"{file.label}: scores {name!r} are not float32; score again")

    def parts(self, name: str, size: int = PART) -> Iterator[Tensor]:
        return pruned_before(self.file.parts(name, size), self.before, name, size)


def pruned_before(
    parts: Iterator[Tensor],
    before: Parted | None,
    name: str,
    size: int,
    value: float = PRUNED,
) -> Iterator[Tensor]:
    """Parts of a tensor's scores in which what an earlier mask removed has this value."""
    if before is None or name not in before.shapes:
        yield from parts
        return
    for part, kept in zip(parts, before.parts(name, size), strict=True):
        yield torch.where(kept, part, value)
