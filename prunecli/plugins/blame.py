"""The plugin whose code an error came up in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from traceback import walk_tb
from typing import Any

OTHERS: dict[str, dict[str, Callable[..., Any]]] = defaultdict(dict)
"""What was found in each module that is not prunecli's, by what to call it: "method 'mine:f'"."""


def behind(error: BaseException) -> str | None:
    """The plugin that is not prunecli's in whose module the error came up, the nearest to it.

    Of several in that module it is the one that was called. A hook or a network's forward may be of
    any of them: then all are named.
    """
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    called = {frame.f_code for frame in frames}
    for frame in reversed(frames):
        if found := OTHERS.get(frame.f_globals.get("__name__", "")):
            own = [label for label, f in found.items() if getattr(f, "__code__", None) in called]
            return " or ".join(own or found)
    return None
