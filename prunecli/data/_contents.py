"""Hashes of the files of a tree, cached so that unchanged files are not read again.

The cache is on disk, keyed by each file's `files.reading.Identity`.
"""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import AnyStr

import torch
from torch import Tensor

from prunecli.data._cache import Forms, keep, load
from prunecli.data._threads import in_threads
from prunecli.errors import BadInput, printable
from prunecli.files.digest import Hashes
from prunecli.files.reading import Identity

FIELDS = len(Identity._fields)
ROW = 8 * FIELDS
MOST_BYTES = 1 << 30
MOST = 100_000_000
"""The most files in a table; a larger one is not ours."""


def contents(root: Path, path: Callable[[int], Path], identities: Sequence[Identity]) -> list[str]:
    """SHA-256 of each file of a tree; file i is at `path(i)` and has `identities[i]`.

    Raises BadInput naming a file that cannot be read or no longer has its identity.
    """
    name = f"contents-{hashlib.sha256(os.fsencode(root.resolve())).hexdigest()}"
    rows, hashes = _known(name)
    if rows == _rows(identities):
        return hashes
    known = dict(zip(_cut(rows, ROW), hashes, strict=True))
    return _looked_up(name, path, identities, known)


def _looked_up(
    name: str, path: Callable[[int], Path], identities: Sequence[Identity], known: dict[bytes, str]
) -> list[str]:
    rows, read = _cut(_rows(identities), ROW), Hashes()
    new = [at for at, row in enumerate(rows) if row not in known]
    try:
        found = in_threads(lambda at: _hashed(read, path(at), identities[at]), new)
    finally:  # keep what is done, if the user stops a large tree
        if read.known:
            known |= zip(_cut(_rows(read.known), ROW), read.known.values(), strict=True)
            _keep(name, {row: known[row] for row in rows if row in known})
    fresh = dict(zip(new, found, strict=True))
    return [fresh.get(at) or known[row] for at, row in enumerate(rows)]


def _hashed(hashes: Hashes, path: Path, identity: Identity) -> str:
    check_bytes(path, identity)
    return hashes.of(path, identity)


def check_bytes(path: Path, identity: Identity) -> None:
    """Raise BadInput for a file that is too large for a data set, before it is read."""
    if identity.size > MOST_BYTES:
        raise BadInput(f"{printable(str(path))}: it is over 1 GB, which is too large")


def _rows(identities: Iterable[Identity]) -> bytes:
    """Each identity as FIELDS int64; of larger values, such as some inodes, the low bits."""
    try:
        return array("q", chain.from_iterable(identities)).tobytes()
    except OverflowError:
        low = ((value + 2**63) % 2**64 - 2**63 for own in identities for value in own)
        return array("q", low).tobytes()


def _known(name: str) -> tuple[bytes, list[str]]:
    """The cached rows, and the hash of each."""
    tensors = load(name, _is_table)
    if tensors is None:
        return b"", []
    rows, hashes = (tensors[key].numpy().tobytes() for key in ("identities", "sha256"))
    return rows, _cut(hashes.hex(), 64)


def _cut(whole: AnyStr, size: int) -> list[AnyStr]:
    return [whole[start : start + size] for start in range(0, len(whole), size)]


def _is_table(forms: Forms) -> bool:
    _, shape = forms.get("identities", ("", ()))
    count = shape[0] if shape else 0
    own = {"identities": ("I64", (count, FIELDS)), "sha256": ("U8", (count, 32))}
    return forms == own and count <= MOST


def _keep(name: str, known: dict[bytes, str]) -> None:
    rows, hashes = b"".join(known), bytes.fromhex("".join(known.values()))
    tables = {
        "identities": _table(rows, torch.int64, FIELDS),
        "sha256": _table(hashes, torch.uint8, 32),
    }
    keep(name, tables)


def _table(raw: bytes, dtype: torch.dtype, columns: int) -> Tensor:
    return torch.frombuffer(bytearray(raw), dtype=dtype).reshape(-1, columns)
