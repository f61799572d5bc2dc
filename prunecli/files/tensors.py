"""Lazy, checked access to the tensors of a safetensors file or a sharded directory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

import torch
from torch import Tensor

from prunecli.errors import BadInput, printable, some
from prunecli.files.digest import ahead, file_sha256
from prunecli.files.header import INDEX, Entry, Header, read_header, strict_json
from prunecli.files.pairs import masked, pairs
from prunecli.files.parsing import R, Record, parsed
from prunecli.files.reading import read_bytes, unchanged, unreadable
from prunecli.files.records import record_of, with_kind
from prunecli.files.texts import decoded
from prunecli.runtime.shortage import raise_shortage
from prunecli.tensors.parts import PART

DTYPES = {
    "F64": torch.float64, "I64": torch.int64, "F32": torch.float32, "I32": torch.int32,
    "F16": torch.float16, "BF16": torch.bfloat16, "I16": torch.int16, "I8": torch.int8,
    "U8": torch.uint8, "BOOL": torch.bool, "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2, "U16": torch.uint16, "U32": torch.uint32, "U64": torch.uint64,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz, "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
    "F8_E8M0": torch.float8_e8m0fnu, "C64": torch.complex64,
}  # fmt: skip
CODES = {dtype: code for code, dtype in DTYPES.items()}
T = TypeVar("T")
INDEX_END = ".safetensors.index.json"
"""Diffusers puts the name of the component before it."""
MAX_INDEX = 100_000_000
AGAIN = "; write the file again"
"""The advice for a file with damaged metadata."""


class Form(NamedTuple):
    """A tensor's type, as safetensors names it, and its shape."""

    dtype: str
    shape: tuple[int, ...]

    @classmethod
    def of(cls, tensor: Tensor) -> Form:
        return cls(CODES.get(tensor.dtype, str(tensor.dtype)), tuple(tensor.shape))


class TensorFile(Mapping[str, Tensor]):
    """A read-only mapping from names to tensors; each access reads that tensor's bytes again.

    Takes one safetensors file, the folder of one, a sharded directory with its index, or the index
    itself. Names are in the order of their bytes, shards in the order of their names. X_orig and
    X_mask of torch.nn.utils.prune appear as one tensor X, except in prunecli's own files. A tensor
    of a type that torch lacks is given as its bytes. Raises BadInput for what the strict reader
    refuses.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.label = printable(str(path))
        shards = _index(path)
        self.index = index_of(path) if shards else None
        """The index of a sharded checkpoint."""
        files = sorted(set(shards.values())) if shards else [_only_file(path)]
        self.folder = self.index.parent if self.index else path if files != [path] else None
        """The checkpoint's folder, if it is a whole folder."""
        self._take({file: read_header(file) for file in files})
        if shards and (astray := [n for n in shards if self._stored.get(n) != shards[n]]):
            raise BadInput(f"{self.label}: {astray[0]!r} is not in the shard that the index names")

    def _take(self, shards: dict[Path, Header]) -> None:
        """Set the shards, and index their tensors."""
        self.shards = shards
        self._stored: dict[str, Path] = {}
        self._hashing: Callable[[], str] | None = None
        self._equal: dict[tuple[str, str], bool] = {}
        self._said: dict[Callable[[TensorFile], Any], Any] = {}
        for shard, header in self.shards.items():
            for name in header.entries:
                if name in self._stored:
                    raise BadInput(f"{self.label}: tensor {name!r} is in two shards")
                self._stored[name] = shard
        self.pairs = {} if "prunecli" in self.metadata else pairs(self._entries())
        """For each X, the names of X_orig and X_mask in the file."""
        self._home = self._seen()

    def _entries(self) -> dict[str, Entry]:
        return {name: e for head in self.shards.values() for name, e in head.entries.items()}

    def _seen(self) -> dict[str, Path]:
        """The shard of each tensor, by its name in this mapping."""
        wholes = {orig: whole for whole, (orig, _) in self.pairs.items()}
        masks = {mask for _, mask in self.pairs.values()}
        return {wholes.get(n, n): shard for n, shard in self._stored.items() if n not in masks}

    @property
    def paths(self) -> list[Path]:
        """The paths that must not be written while this is read: its own and its shards'."""
        return [self.path, *self.shards]

    def __getitem__(self, name: str) -> Tensor:
        entry = self.entry(name)
        [whole] = self.parts(name, max(entry.numel, 1))
        return whole.reshape(entry.shape) if entry.dtype in DTYPES else whole

    def parts(self, name: str, size: int = PART) -> Iterator[Tensor]:
        """The tensor's values in order, flat, `size` of them at a time.

        The file is not memory-mapped: only a part is in memory, and later changes of the file do
        not reach it. Raises BadInput if the file has changed since it was opened.
        """
        if name not in self.pairs:
            return self._parts(name, size)
        weight, mask = self.pairs[name]
        return masked(self._parts(weight, size), self._parts(mask, size), f"{self.label}: {mask!r}")

    def _parts(self, name: str, size: int) -> Iterator[Tensor]:
        """The parts of a tensor, by its name in the file."""
        shard = self._stored[name]
        header = self.shards[shard]
        entry = header.entries[name]
        dtype, count = DTYPES.get(entry.dtype), entry.numel
        if dtype is None:
            dtype, count = torch.uint8, entry.end - entry.start
        try:
            with unchanged(shard, header.identity) as (file, _):
                file.seek(8 + header.length + entry.start)
                for start in range(0, max(count, 1), size):
                    part = torch.empty(min(size, count - start), dtype=dtype)
                    _fill(part, file)
                    yield part
        except OSError as error:
            raise unreadable(shard, error) from None

    def equal(self, one: str, other: str) -> bool:
        """Whether two tensors are equal bit by bit; cached."""
        first, second = self.entry(one), self.entry(other)
        if (first.dtype, first.shape) != (second.dtype, second.shape):
            return False
        if (one, other) not in self._equal:
            both = zip(self.parts(one), self.parts(other), strict=True)
            same = all(torch.equal(a.view(torch.uint8), b.view(torch.uint8)) for a, b in both)
            self._equal[one, other] = same
        return self._equal[one, other]

    def __contains__(self, name: object) -> bool:
        return name in self._home  # without reading the tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._home)

    def __len__(self) -> int:
        return len(self._home)

    def entry(self, name: str) -> Entry:
        return self.shards[self._home[name]].entries[self.pairs.get(name, (name, ""))[0]]

    def within(self, shard: Path) -> list[str]:
        """The names of the tensors in a shard."""
        return [name for name, home in self._home.items() if home == shard]

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: self.entry(name).shape for name in self}

    @cached_property
    def forms(self) -> dict[str, Form]:
        return {name: Form(self.entry(name).dtype, self.entry(name).shape) for name in self}

    def once(self, ask: Callable[[TensorFile], T]) -> T:
        """`ask(self)`, computed once, since the file does not change."""
        if ask not in self._said:
            self._said[ask] = ask(self)
        said: T = self._said[ask]
        return said

    def hash_ahead(self) -> None:
        """Start to compute `sha256`, slow for a large file, in the background."""
        self._hashing = ahead(self._hash)

    @cached_property
    def sha256(self) -> str:
        """The hash of the file; for a sharded checkpoint, of its shards' names and hashes."""
        return self._hashing() if self._hashing else self._hash()

    def _hash(self) -> str:
        hashes = {shard: file_sha256(shard, head.identity) for shard, head in self.shards.items()}
        if self.index is None:
            [only] = hashes.values()
            return only
        parts = [f"{shard.name}:{sha256}\n" for shard, sha256 in hashes.items()]
        return hashlib.sha256("".join(parts).encode()).hexdigest()

    @cached_property
    def metadata(self) -> dict[str, str]:
        """The header's metadata. The first shard that has a key decides its value."""
        headers = reversed(list(self.shards.values()))
        return {key: value for header in headers for key, value in header.metadata.items()}

    @cached_property
    def meta(self) -> dict[str, Any] | None:
        """prunecli's metadata in the header, as written; None if there is none."""
        if "prunecli" not in self.metadata:
            return None
        try:
            return with_kind(strict_json(self.metadata["prunecli"]))
        except ValueError as error:
            raise self._damaged(error) from None

    @cached_property
    def record(self) -> Record | None:
        """`meta` as a record of the file's kind; see `records`."""
        try:
            return None if self.meta is None else record_of(self.meta)
        except ValueError as error:
            raise self._damaged(error) from None

    def says(self, kind: type[R]) -> R:
        """The record, if it is one of that kind; else an empty one."""
        return self.record if isinstance(self.record, kind) else parsed(kind, {})

    def _damaged(self, error: ValueError) -> BadInput:
        what = f"its prunecli metadata is damaged: {printable(str(error))}"
        return BadInput(f"{self.label}: {what}{AGAIN}")


def _fill(part: Tensor, file: BinaryIO) -> None:
    """Fill a part with the next bytes of the file. Raises OSError if it ends early."""
    left = part.view(torch.uint8).numpy().data if part.numel() else memoryview(b"")
    while left:
        if not (count := file.readinto(left)):  # type: ignore[attr-defined]
            raise OSError("the file has become shorter")
        left = left[count:]


def index_of(path: Path) -> Path:
    """The path itself if it is an index, else that of the folder's, which need not exist."""
    if path.name.endswith(INDEX_END):
        return path
    found: list[Path] = []
    try:
        found = sorted(path.glob(f"*{INDEX_END}"))
    except OSError as error:
        raise_shortage(error)
    if len(found) == 1:
        return found[0]
    if found and path / INDEX not in found:
        names = ", ".join(printable(entry.name) for entry in found)
        raise BadInput(f"{printable(str(path))}: it has several indexes; give one of {names}")
    return path / INDEX


def _only_file(path: Path) -> Path:
    """The one checkpoint in a folder without an index; any other path itself."""
    found: list[Path] = []
    try:
        found = sorted(path.glob("[!.]*.safetensors"))
    except OSError as error:
        raise_shortage(error)
    if len(found) > 1:
        names, label = some([printable(file.name) for file in found], 5), printable(str(path))
        raise BadInput(f"{label}: it has no index and several files; give one of {names}")
    return found[0] if found else path


def _index(path: Path) -> dict[str, Path]:
    """The shard of each tensor, from the index; empty if there is no index."""
    index = index_of(path)
    label = printable(str(index))
    try:
        text = decoded(read_bytes(index, MAX_INDEX))
        weight_map: dict[str, str] = dict(strict_json(text)["weight_map"])
        shards = set(weight_map.values())
        if not shards or not all(isinstance(shard, str) for shard in shards):
            raise ValueError("it names no shards")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise unreadable(index, error) from None
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{label}: not a valid index: {printable(str(error))}") from None
    for shard in shards:
        if shard != Path(shard).name or not shard.endswith(".safetensors"):
            raise BadInput(f"{label}: {shard!r} is not a .safetensors file beside the index")
    return {name: index.parent / shard for name, shard in weight_map.items()}
