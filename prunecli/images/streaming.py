"""Batches of images that are decoded while they are needed, by threads and ahead of time.

Pillow, zlib and hashing let go of Python's lock, so threads are as quick as processes would be.
They share memory as it is, where processes need /dev/shm, of which a container has 64 MB.
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
"""Batches that are begun while one is in use."""
AT_ONCE = 8
"""Images that a thread takes."""


def decoded(images: Stream, indices: list[Tensor], pin: bool) -> Iterator[Tensor]:
    """A batch, uint8 [B, H, W, C], for each list of indices, in order.

    Raises BadInput naming an image that cannot be read, or that was changed meanwhile.
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
    finally:  # also of an epoch that somebody stops
        threads.shutdown(cancel_futures=True)


class _Batch:
    """A batch that is being filled."""

    def __init__(
        self, images: Stream, index: Tensor, pin: bool, threads: ThreadPoolExecutor
    ) -> None:
        shape = (len(index), *images.one)
        self.pixels = torch.empty(shape, dtype=torch.uint8, pin_memory=pin)
        parts = zip(*(torch.split(each, AT_ONCE) for each in (index, self.pixels)), strict=True)
        self.parts: list[Future[None]] = [threads.submit(_fill, images, *part) for part in parts]

    def whole(self) -> Tensor:
        """The batch, once it is done. Raises what came up first, in the order of its images."""
        for part in self.parts:
            part.result()
        return self.pixels


def _fill(images: Stream, index: Tensor, rows: Tensor) -> None:
    for number, row in zip(index.tolist(), rows, strict=True):
        images.fill(number, row)
