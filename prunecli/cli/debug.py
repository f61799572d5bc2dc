"""Messages for unexpected errors, and tracebacks on request."""

from __future__ import annotations

import os
import traceback

from prunecli.plugins.blame import behind


def trace_if_wanted() -> None:
    """Print the traceback of the exception being handled, under PRUNECLI_DEBUG."""
    if os.environ.get("PRUNECLI_DEBUG") not in (None, "", "0"):
        traceback.print_exc()


def unforeseen(error: BaseException) -> str:
    """A message with the origin of the error, and what to do."""
    what = f"{type(error).__name__}: {error}"
    if plugin := behind(error):
        first = what.partition("\n")[0]
        return f"{plugin} failed: {first}; PRUNECLI_DEBUG=1 shows where"
    return f"{what}; this is a bug: please report it with the output under PRUNECLI_DEBUG=1"
