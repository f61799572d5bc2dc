"""`inspect`: what a file holds, without trusting it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from prunecli.files.artifacts import MaskFile, kind_of, open_artifact
from prunecli.files.parsing import table
from prunecli.files.records import MaskRecord, ScoresRecord
from prunecli.files.roles import layouts_of
from prunecli.files.tensors import TensorFile
from prunecli.masks.mask import kept_counts
from prunecli.masks.targets import prunable_names
from prunecli.network import coverage
from prunecli.steps._values import values_of
from prunecli.tensors.parts import one_thread


@one_thread()
def inspect(path: Path) -> dict[str, Any]:
    """Kind, hash, tensors and metadata of any safetensors file.

    Only its header is interpreted; of a checkpoint, values are counted while it is hashed. Of a
    mask also its bits: each tensor is told as the weights that it is for, with those `kept`.
    """
    file = TensorFile(path)
    kind = kind_of(file)
    names = prunable_names(file) if kind == "checkpoint" else None
    layouts = layouts_of(file, names or ())
    file.hash_ahead()
    tensors: list[dict[str, Any]] = [
        {"name": name, "dtype": file.entry(name).dtype, "shape": list(file.entry(name).shape)}
        | (values_of(file, name, layouts.get(name, "oi")) if names is not None else {})
        for name in file
    ]
    own = file.record
    whole = own.left_whole if isinstance(own, ScoresRecord | MaskRecord) else None
    if names is not None:
        whole = coverage.of_file(file, names)
    if kind == "mask":
        tensors = _masked(path)
    return {
        "kind": kind if own is not None else "checkpoint (foreign)",
        "sha256": file.sha256,
        "parameters": sum(math.prod(tensor["shape"]) for tensor in tensors),
        "prunable": names,
        "left_whole": table(whole) if whole else None,
        "zeros": _zeros(tensors, names or ()),
        "pairs": sorted(file.pairs),
        "tensors": tensors,
        "meta": file.meta,
    }


def _zeros(tensors: list[dict[str, Any]], prunable: Iterable[str]) -> int | None:
    """The zeros of the prunable weights; None where there are none whose zeros can be told."""
    wanted = set(prunable)
    counts = [t["zeros"] for t in tensors if t["name"] in wanted and t["zeros"] is not None]
    return sum(counts) if counts else None


def _masked(path: Path) -> list[dict[str, Any]]:
    """The weights that a mask is for. Raises BadInput if it is none."""
    mask = MaskFile(open_artifact(path, "mask"))
    kept = kept_counts(mask)
    return [
        {"name": name, "dtype": "mask", "shape": list(shape), "kept": kept[name]}
        for name, shape in mask.shapes.items()
    ]
