"""A cache on disk for what takes long to compute about data.

Anybody may have written an entry, so it is read like any other file. An entry that is not exactly
as written counts as missing.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

from torch import Tensor

from prunecli.data._threads import in_threads
from prunecli.errors import PruneError
from prunecli.files.atomic import bytes_of, write_tensors
from prunecli.files.tensors import TensorFile
from prunecli.runtime.machine import at_home
from prunecli.runtime.shortage import raise_shortage

Forms: TypeAlias = Mapping[str, tuple[str, tuple[int, ...]]]
"""The dtype, as safetensors names it, and the shape of each tensor."""

PIECE = 1 << 22
"""Bytes of a tensor that a thread hashes at a time."""


def cached(
    name: str,
    forms: Forms,
    make: Callable[[], dict[str, Tensor]],
    sound: Callable[[Mapping[str, Tensor]], bool] = lambda tensors: True,
) -> dict[str, Tensor]:
    """The tensors of these forms from the entry of that name, else from `make`.

    An entry that cannot be read, is damaged or is not `sound` is made anew. Failure to write one is
    ignored.
    """
    kept = load(name, lambda found: found == forms)
    if kept is not None and sound(kept):
        return kept
    tensors = make()
    keep(name, tensors)
    return tensors


def load(name: str, fits: Callable[[Forms], bool]) -> dict[str, Tensor] | None:
    """The entry of that name; None if it is missing, damaged or its forms do not fit."""
    try:
        file = TensorFile(_place(name))
        if not fits({key: (file.entry(key).dtype, file.entry(key).shape) for key in file}):
            return None
        tensors = dict(file)
        whole = file.metadata.get("digest") == _digest(name, tensors)
    except (PruneError, OSError) as error:
        raise_shortage(error)
        return None
    return tensors if whole else None


def keep(name: str, tensors: dict[str, Tensor]) -> None:
    """Write the entry of that name, if possible."""
    try:
        path = _place(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(path, tensors, {"digest": _digest(name, tensors)})
    except (PruneError, OSError) as error:
        raise_shortage(error)


def _place(name: str) -> Path:
    """The path of an entry: in `PRUNECLI_CACHE`, else `prunecli` in the user's cache folder.

    Raises OSError if that folder is unknown.
    """
    if named := os.environ.get("PRUNECLI_CACHE"):
        return Path(at_home(named)) / f"{name}.safetensors"
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError as error:
        raise OSError(f"the user's cache folder is unknown: {error}") from None
    return folder / "prunecli" / f"{name}.safetensors"


def _digest(name: str, tensors: Mapping[str, Tensor]) -> str:
    """The hash of an entry and its name, so that no entry passes for another.

    CRC-32 of the pieces is fast, and guards against accidents. A forger could write any hash.
    """
    told = [name]
    for key, tensor in sorted(tensors.items()):
        told.append(f"{key} {tensor.dtype} {list(tensor.shape)}")
        pieces = [b[i : i + PIECE] for b in bytes_of(tensor) for i in range(0, len(b), PIECE)]
        told += map(str, in_threads(zlib.crc32, pieces, 1))
    return hashlib.sha256("\n".join(told).encode()).hexdigest()
