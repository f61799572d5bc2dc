"""The strict reader of safetensors headers.

A file is 8 bytes of header length, a JSON header, and the tensors' bytes. The `safetensors`
library accepts some files that cannot mean what they say (two tensors of one name: it keeps the
last), so the header is checked here before a byte of data is touched. No torch is needed.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prunecli.errors import BadInput, printable
from prunecli.files.formats import LOOKED_AT, other_format
from prunecli.files.reading import Identity, opened, unreadable

BITS = {
    "F64": 64, "I64": 64, "U64": 64, "C64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16,
    "BF16": 16, "I16": 16, "U16": 16, "I8": 8, "U8": 8, "BOOL": 8, "F8_E4M3": 8, "F8_E5M2": 8,
    "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "F8_E8M0": 8, "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
}  # fmt: skip
"""The bits of one value, by its type. What has less than a byte each is packed."""
FLOATS = ("F64", "F32", "F16", "BF16")
INTEGERS = ("I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL")
INDEX = "model.safetensors.index.json"
MAX_HEADER = 100_000_000  # the format's own limit, in bytes
MAX_DIMENSIONS = 64


@dataclass(frozen=True)
class Entry:
    """One tensor of a file: its safetensors dtype, shape and byte range in the data part."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def numel(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Header:
    """Tensors in the order of their bytes, and the file's string-to-string metadata."""

    entries: dict[str, Entry]
    metadata: dict[str, str]
    length: int
    identity: Identity
    """What the file was when this was read."""


def read_header(path: Path) -> Header:
    """Read and check the header of one safetensors file.

    Raises BadInput if the file is missing, is something else, or breaks any rule of the format:
    length, JSON, unique names, known dtypes, shapes that match their bytes, and byte ranges that
    cover the data part without a hole or an overlap.
    """
    label = printable(str(path))
    try:
        with opened(path) as file:
            identity = Identity.of(os.fstat(file.fileno()))
            head = file.read(LOOKED_AT)
            _refuse_other_formats(label, head)
            length = int.from_bytes(head[:8], "little")
            if head[8:9] not in (b"{", b""):
                raise BadInput(f"{label}: it is not a safetensors file, or it is damaged")
            if length > MAX_HEADER:
                raise BadInput(
                    f"{label}: its header claims {length:,} bytes, above the limit of 100 MB"
                )
            if length > identity.size - 8:
                raise BadInput(f"{label}: it is truncated: the header alone needs {length:,} bytes")
            file.seek(8)
            raw = file.read(length)
    except IsADirectoryError:
        what = f"it is a directory without {INDEX} or any .safetensors file"
        raise BadInput(f"{label}: {what}") from None
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from None
    try:
        return _checked(_parse(raw), length, identity)
    except ValueError as error:
        fault = printable(str(error))
        raise BadInput(f"{label}: not a valid safetensors file: {fault:.300}") from None


def header_to_be(head: bytes, tensors: int) -> Header:
    """The header of a file that would begin with `head`, followed by this many bytes of tensors.

    Raises ValueError for what breaks a rule of the format.
    """
    length = int.from_bytes(head[:8], "little")
    return _checked(_parse(head[8:]), length, Identity(0, 0, len(head) + tensors, 0, 0))


def _refuse_other_formats(label: str, head: bytes) -> None:
    if not head:
        raise BadInput(f"{label}: it is empty")
    if found := other_format(head):
        raise BadInput(f"{label}: {printable(found)}")
    if len(head) < 8:
        raise BadInput(f"{label}: it is truncated; {len(head)} bytes cannot hold a header")


def _parse(raw: bytes) -> dict[str, Any]:
    if not raw.startswith(b"{"):
        raise ValueError("its header does not start with '{'")

    header: dict[str, Any] = strict_json(raw.decode("utf-8"), "its header")
    return header


def strict_json(text: str, what: str = "it") -> Any:
    """What JSON says. Raises ValueError where that is not certain: a name twice, NaN, infinity."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) != len(pairs):
            [(twice, _)] = Counter(name for name, _ in pairs).most_common(1)
            raise ValueError(f"{what} has the name {twice!r} twice")
        return table

    def finite(digits: str) -> float:
        if not math.isfinite(number := float(digits)):
            raise ValueError(f"{what} holds {digits:.20}, which is not a finite number")
        return number

    try:
        return json.loads(text, object_pairs_hook=unique, parse_float=finite, parse_constant=finite)
    except RecursionError:
        raise ValueError(f"{what} is nested too deeply") from None


def _checked(table: dict[str, Any], length: int, identity: Identity) -> Header:
    metadata = table.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ValueError("its metadata is not a table of strings")
    "".join([*table, *metadata, *metadata.values()]).encode()  # refuses halves of surrogate pairs
    entries = {name: _entry(name, value) for name, value in table.items()}
    in_order = dict(sorted(entries.items(), key=lambda item: (item[1].start, item[1].end)))
    position = 0
    for name, entry in in_order.items():
        if entry.start != position:
            fault = "overlaps the one before" if entry.start < position else "leaves a gap before"
            raise ValueError(f"tensor {name!r} {fault} it, at byte {entry.start}")
        position = entry.end
    if position != (size := identity.size - 8 - length):
        raise ValueError(f"its tensors need {position:,} bytes but it holds {size:,}")
    return Header(in_order, metadata, length, identity)


def _entry(name: str, value: Any) -> Entry:
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"tensor {name!r} needs exactly dtype, shape and data_offsets")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise ValueError(f"tensor {name!r} has the unknown dtype {dtype!r}")
    if not (is_shape(shape) and _naturals(offsets) and len(offsets) == 2):
        raise ValueError(f"tensor {name!r} has an invalid shape or data_offsets")
    entry = Entry(dtype, tuple(shape), offsets[0], offsets[1])
    if entry.numel * BITS[dtype] != 8 * (entry.end - entry.start):
        raise ValueError(f"tensor {name!r} of shape {shape} does not fit its byte range")
    return entry


def is_shape(value: Any) -> bool:
    """Whether it is a list of sizes, each and all together (zeros aside) below 2^63.

    It has no more dimensions than torch and numpy can walk through.
    """
    if not _naturals(value) or len(value) > MAX_DIMENSIONS:
        return False
    count = 1
    for size in value:
        count *= max(size, 1)
        if count >= 2**63:
            return False
    return True


def _naturals(value: Any) -> bool:
    return isinstance(value, list) and all(type(v) is int and 0 <= v < 2**63 for v in value)
