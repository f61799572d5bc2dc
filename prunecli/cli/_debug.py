"""Tracebacks, for who asks for them."""

from __future__ import annotations

import os
import traceback


def trace_if_wanted() -> None:
    """Print the traceback of the exception being handled, under PRUNECLI_DEBUG."""
    if os.environ.get("PRUNECLI_DEBUG") not in (None, "", "0"):
        traceback.print_exc()
