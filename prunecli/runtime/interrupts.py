"""Ctrl-C and SIGTERM, handled at a safe moment."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(SystemExit):
    """The end that a signal from outside asks for; any other SystemExit is some code's own idea."""


@contextmanager
def deferred_interrupts() -> Iterator[Callable[[], bool]]:
    """Have the first SIGINT or SIGTERM, within, only make the yielded function return True.

    A second one acts at once. On leaving, handlers are as before, and a signal that nobody acted
    on is delivered. Outside the main thread, where handlers cannot be set, it does nothing.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if len(received) > 1:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if received:
            signal.raise_signal(received[0])
