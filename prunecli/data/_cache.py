"""Decoded data sets on disk, so that images are decoded once per machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from prunecli.errors import PruneError
from prunecli.files.atomic import write_tensors
from prunecli.files.tensors import TensorFile


def cache_folder() -> Path:
    """`PRUNECLI_CACHE`, else `prunecli` in the user's cache folder."""
    if named := os.environ.get("PRUNECLI_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "prunecli"


def cached(key: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """What `make` gave for this key, from disk if it is there.

    A cache that cannot be read is made anew, one that cannot be written is done without.
    """
    path = cache_folder() / f"{key}.safetensors"
    try:
        return dict(TensorFile(path))
    except (PruneError, OSError):
        tensors = make()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(path, tensors, {})
    except (PruneError, OSError):
        pass
    return tensors
