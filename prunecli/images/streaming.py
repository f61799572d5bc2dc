"""Batches of images that threads decode shortly before they are needed.

Pillow, zlib and hashing release Python's lock, so threads are as fast as processes. Processes would
share memory through /dev/shm, of which a container has 64 MB.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from prunecli.runtime.machine import cores
from prunecli.types import Stream

THREADS = 8
AHEAD = 2
"""Batches that are decoded ahead while one is in use."""
AT_ONCE = 8
"""Images that a thread takes at a time."""


def decoded(images: Stream, indices: list[Tensor], pin: bool) -> Iterator[Tensor]:
    """A batch, uint8 [B, H, W, C], for each list of indices, in order.

    Raises BadInput naming an image that cannot be read or has changed.
    """
    begun: deque[_Batch] = deque()
    threads = ThreadPoolExecutor(min(THREADS, cores()))
    try:
        for index in indices:
            begun.append(_Batch(images, index, pin, threads))
            if len(begun) > AHEAD:
                yield begun.popleft().whole()
        while begun:
            yield begun.popleft().whole()
    finally:  # also if the epoch is stopped early
        threads.shutdown(cancel_futures=True)


class _Batch:
    """A batch that threads are filling."""

    def __init__(
        self, images: Stream, index: Tensor, pin: bool, threads: ThreadPoolExecutor
    ) -> None:
        shape = (len(index), *images.one)
        self.pixels = torch.empty(shape, dtype=torch.uint8, pin_memory=pin)
        parts = zip(*(torch.split(each, AT_ONCE) for each in (index, self.pixels)), strict=True)
        self.parts: list[Future[None]] = [threads.submit(_fill, images, *part) for part in parts]

    def whole(self) -> Tensor:
        """Wait for the batch and return it. Raises the error of the first image that failed."""
        for part in self.parts:
            part.result()
        return self.pixels


def _fill(images: Stream, index: Tensor, rows: Tensor) -> None:
    for number, row in zip(index.tolist(), rows, strict=True):
        images.fill(number, row)
