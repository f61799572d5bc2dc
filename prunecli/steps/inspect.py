"""`inspect`: what a file is, without trusting it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prunecli import coverage
from prunecli.files.artifacts import kind_of
from prunecli.files.tensors import TensorFile
from prunecli.masks import prunable_names


def inspect(path: Path) -> dict[str, Any]:
    """Kind, hash, tensors and metadata of any safetensors file; only its header is interpreted."""
    file = TensorFile(path)
    kind = kind_of(file)
    names = prunable_names(file) if kind == "checkpoint" else None
    tensors = [
        {"name": name, "dtype": file.entry(name).dtype, "shape": list(file.entry(name).shape)}
        for name in file
    ]
    return {
        "kind": kind if file.meta is not None else "checkpoint (foreign)",
        "sha256": file.sha256,
        "parameters": sum(file.entry(name).numel for name in file),
        "prunable": names,
        "left_whole": coverage.of_file(file, names) if names is not None else None,
        "tensors": tensors,
        "meta": file.meta,
    }
