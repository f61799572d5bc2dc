"""Memory to spare for an out-of-memory message, and its advice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prunecli.plugins.resolve import resolve

RESERVE = 1 << 23
"""Bytes to release when memory is short, so that the message can be printed."""


def lowered(params: Mapping[str, Any]) -> str:
    """The option to lower when memory is short; "" if none helps."""
    if "method" not in params:
        return "--batch-size" if "batch_size" in params else ""
    if params["method"] is None:  # scores that are there already
        return ""
    # A method takes batches, or a single one of a size of its own, or no data at all.
    known = resolve("scorers", params["method"], by_file=False).declared
    default = known["per_class"].default if "per_class" in known else None
    if params["opt"].get("per_class", default) is not None:
        return "--opt per_class"
    return "--batch-size" if "batches" in known else ""
