"""Batches of images that are decoded while they are needed, by torch's loader and its workers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from prunecli.errors import PruneError
from prunecli.types import Stream

WORKERS = 8


class _Files(Dataset[Tensor]):
    """A failure is handed over, for the loader would wrap it in a traceback."""

    def __init__(self, images: Stream) -> None:
        self.images = images

    def __getitems__(self, places: list[int]) -> Tensor | PruneError:
        # None, of a batch that is smaller than the number of processes.
        batch = torch.empty((len(places), *self.images.one), dtype=torch.uint8)
        try:
            for place, row in zip(places, batch, strict=True):
                self.images.read(self.images.files[place], row)
        except PruneError as error:
            return error
        return batch


def decoded(images: Stream, places: list[Tensor], pin: bool) -> Iterator[Tensor]:
    """A batch, uint8 [B, H, W, C], for each list of places, in order.

    Raises BadInput naming an image that cannot be read, or that was changed meanwhile.
    """
    loader = DataLoader(
        _Files(images),
        batch_sampler=[index.tolist() for index in places],
        # A process for a single batch costs more than it saves.
        num_workers=min(WORKERS, os.cpu_count() or 1, len(places) - 1),
        collate_fn=_as_it_is,
        pin_memory=pin,
    )
    for batch in loader:
        if isinstance(batch, PruneError):
            raise batch
        yield batch


def _as_it_is(batch: Any) -> Any:
    return batch
