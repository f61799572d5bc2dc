"""Ctrl-C and SIGTERM, handled at a safe moment."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(SystemExit):
    """An exit that a signal requested, unlike any other SystemExit."""


@contextmanager
def deferred_interrupts() -> Iterator[Callable[[], bool]]:
    """A context in which the first SIGINT or SIGTERM only makes the yielded function return True.

    A second one raises KeyboardInterrupt at once. On leaving, the handlers are restored, and the
    first signal is raised again. It does nothing outside the main thread, where handlers cannot be
    set.
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
