"""`inspect`: what a file is, without trusting it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from prunecli.files.artifacts import MaskFile, kind_of
from prunecli.files.tensors import TensorFile
from prunecli.masks import kept_counts, prunable_names


def inspect(path: Path) -> dict[str, Any]:
    """Kind, hash, tensors and metadata of any safetensors file; only its header is interpreted.

    Of a mask also its bits: each tensor is told as the weights that it is for, with those `kept`.
    """
    file = TensorFile(path)
    kind = kind_of(file)
    tensors: list[dict[str, Any]] = [
        {"name": name, "dtype": file.entry(name).dtype, "shape": list(file.entry(name).shape)}
        for name in file
    ]
    if kind == "mask":
        tensors = _masked(path)
    return {
        "kind": kind if file.meta is not None else "checkpoint (foreign)",
        "sha256": file.sha256,
        "parameters": sum(math.prod(tensor["shape"]) for tensor in tensors),
        "prunable": prunable_names(file) if kind == "checkpoint" else None,
        "tensors": tensors,
        "meta": file.meta,
    }


def _masked(path: Path) -> list[dict[str, Any]]:
    """The weights that a mask is for. Raises BadInput if it is none."""
    mask = MaskFile(path)
    kept = kept_counts(mask)
    return [
        {"name": name, "dtype": "mask", "shape": list(shape), "kept": kept[name]}
        for name, shape in mask.shapes.items()
    ]
