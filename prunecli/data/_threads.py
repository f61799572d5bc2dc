"""Parallel work in threads, for work that is mostly done outside of Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TypeVar

from prunecli.runtime.machine import cores

T = TypeVar("T")
R = TypeVar("R")


def in_threads(work: Callable[[T], R], items: Sequence[T], at_once: int = 64) -> list[R]:
    """`work(item)` for each item, in order; a thread takes `at_once` items at a time.

    Raises the error of the first item that fails.
    """

    def do(start: int) -> list[R]:
        return [work(item) for item in items[start : start + at_once]]

    starts = range(0, len(items), at_once)
    if len(starts) < 2:
        return do(0)
    with ThreadPoolExecutor(cores()) as pool:
        return list(chain.from_iterable(pool.map(do, starts)))
