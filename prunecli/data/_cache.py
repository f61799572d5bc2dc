"""What takes long to find out about data, kept on disk: once per machine is enough.

An entry is read like any other file, for anybody may have written it: what is not just as it was
written is as good as not there.
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
"""The dtype, as safetensors calls it, and the shape of each tensor."""

PIECE = 1 << 22
"""Bytes of a tensor that are hashed by one thread at a time."""


def cached(
    name: str,
    forms: Forms,
    make: Callable[[], dict[str, Tensor]],
    sound: Callable[[Mapping[str, Tensor]], bool] = lambda tensors: True,
) -> dict[str, Tensor]:
    """The tensors of these forms that `make` gives, from the entry of that name if it is there.

    It is made anew if it cannot be read, is damaged or not `sound`; one that cannot be written is
    done without.
    """
    kept = load(name, lambda found: found == forms)
    if kept is not None and sound(kept):
        return kept
    tensors = make()
    keep(name, tensors)
    return tensors


def load(name: str, fits: Callable[[Forms], bool]) -> dict[str, Tensor] | None:
    """The entry of that name, if it is there, of forms that fit, and as it was written."""
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
    """Write the entry of that name, if it can be written."""
    try:
        path = _place(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(path, tensors, {"digest": _digest(name, tensors)})
    except (PruneError, OSError) as error:
        raise_shortage(error)


def _place(name: str) -> Path:
    """The path of an entry. Raises OSError where nobody knows the user's folder.

    It is in `PRUNECLI_CACHE`, else in `prunecli` in the user's cache folder.
    """
    if named := os.environ.get("PRUNECLI_CACHE"):
        return Path(at_home(named)) / f"{name}.safetensors"
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError as error:
        raise OSError(f"the user's cache folder is unknown: {error}") from None
    return folder / "prunecli" / f"{name}.safetensors"


def _digest(name: str, tensors: Mapping[str, Tensor]) -> str:
    """The hash of an entry, and of its name, so that no entry passes for another.

    It guards against accidents, and so is as quick as reading: a forger could write any digest too.
    """
    told = [name]
    for key, tensor in sorted(tensors.items()):
        told.append(f"{key} {tensor.dtype} {list(tensor.shape)}")
        pieces = [b[i : i + PIECE] for b in bytes_of(tensor) for i in range(0, len(b), PIECE)]
        told += map(str, in_threads(zlib.crc32, pieces, 1))
    return hashlib.sha256("\n".join(told).encode()).hexdigest()
