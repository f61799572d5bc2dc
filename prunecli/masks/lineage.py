"""What files say of how they came about."""

from __future__ import annotations

from typing import Any

from prunecli.files.tensors import TensorFile


def mask_lineage(file: TensorFile, epochs: int = 0) -> dict[str, Any]:
    """What a checkpoint or a result says of its mask; `epochs` were trained under it."""
    meta = file.meta or {}
    keys = (
        "method", "options", "scope", "rounds", "schedule", "seed", "asked", "count", "total",
        "kept", "left_out", "scoring",
    )  # fmt: skip
    own = {"nested": meta.get("mask") is not None, "sha256": file.sha256, "epochs": epochs}
    return {key: meta.get(key) for key in keys} | own
