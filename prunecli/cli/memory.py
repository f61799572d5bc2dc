"""Room to say that memory is short, and what to say then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prunecli.plugins.resolve import resolve

RESERVE = 1 << 23
"""Bytes to let go of where memory is short, so that there is room to say so."""


def lowered(params: Mapping[str, Any]) -> str:
    """The options of a command to lower where memory is short; "" if none helps."""
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
