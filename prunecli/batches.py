"""Batches from images in memory: shuffled, shifted and mirrored in one indexing, on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from prunecli.errors import BadUsage
from prunecli.seeds import derive_seed
from prunecli.types import Images

Batch = tuple[Tensor, Tensor]


class ImageBatches:
    """Batches of one image set on a device, as normalised float32 in channels-last memory."""

    def __init__(self, data: Images, device: torch.device, batch_size: int) -> None:
        self.batch_size = batch_size
        self.labels = data.labels.to(device)
        self.flip, self.pad = data.flip, data.pad
        self.height, self.width = data.images.shape[1:3]
        # Padded once, not per batch: a shifted image is then a window, found by indexing.
        images = data.images.to(device)
        self.images = F.pad(images, (0, 0, self.pad, self.pad, self.pad, self.pad))
        std = torch.tensor(data.std, device=device)
        self.scale = 1 / (255 * std)
        self.shift = -torch.tensor(data.mean, device=device) / std

    def __len__(self) -> int:
        """Batches in an epoch. The last one is what is left over.

        A single left-over image joins the batch before it: batch normalisation cannot train on one.
        """
        whole, left = divmod(len(self.labels), self.batch_size)
        return max(1, whole + (left > 1))

    def epoch(self, seed: int, start: int = 0) -> Iterator[Batch]:
        """An epoch of training batches, from batch `start` on.

        All of an epoch's randomness is drawn at once from `seed`, so any batch can be had without
        those before it: a resumed run sees the very same ones.
        """
        count, device = len(self.labels), self.labels.device
        draw = torch.Generator().manual_seed(seed)
        order = torch.randperm(count, generator=draw)
        window = torch.randint(0, 2 * self.pad + 1, (2, count), generator=draw)
        mirrored = torch.randint(0, 2, (count,), generator=draw).bool() & self.flip
        order, window, mirrored = order.to(device), window.to(device), mirrored.to(device)
        for batch in range(start, len(self)):
            end = count if batch + 1 == len(self) else (batch + 1) * self.batch_size
            part = slice(batch * self.batch_size, end)
            index = order[part]
            top, left = window[:, part]
            yield self._pixels(index, top, left, mirrored[part]), self.labels[index]

    def plain(self) -> Iterator[Batch]:
        """Every image once, in order, not augmented."""
        for images, labels in zip(
            torch.split(self._inside(), self.batch_size),
            torch.split(self.labels, self.batch_size),
            strict=True,
        ):
            yield self._normalised(images), labels

    def _inside(self) -> Tensor:
        pad = self.pad
        return self.images[:, pad : pad + self.height, pad : pad + self.width]

    def _pixels(self, index: Tensor, top: Tensor, left: Tensor, mirrored: Tensor) -> Tensor:
        if not self.pad and not self.flip:
            return self._normalised(self.images[index])
        rows = torch.arange(self.height, device=index.device) + top[:, None]
        columns = torch.arange(self.width, device=index.device).repeat(len(index), 1)
        columns = torch.where(mirrored[:, None], self.width - 1 - columns, columns) + left[:, None]
        return self._normalised(
            self.images[index[:, None, None], rows[:, :, None], columns[:, None, :]]
        )

    def _normalised(self, images: Tensor) -> Tensor:
        return (images * self.scale + self.shift).permute(0, 3, 1, 2)


def split_off(data: Images, fraction: float, seed: int) -> tuple[Images, Images]:
    """What is left, and round(fraction * n) images of every class, chosen by the seed.

    Raises BadUsage for a fraction that leaves either without images.
    """
    draw = torch.Generator().manual_seed(derive_seed(seed, "held out"))
    held = torch.zeros(len(data.labels), dtype=torch.bool)
    for label in range(len(data.classes)):
        own = (data.labels == label).nonzero()[:, 0]
        count = round(fraction * len(own)) if 0 < fraction < 1 else 0
        held[own[torch.randperm(len(own), generator=draw)[:count]]] = True
    if held.all() or not held.any():
        raise BadUsage(f"fraction={fraction:g}: it must leave images to train on and to hold out")
    rest, part = (
        replace(data, images=data.images[chosen], labels=data.labels[chosen])
        for chosen in (~held, held)
    )
    return rest, part


@dataclass
class ScoringBatches:
    """`types.Batches` over a training set that is opened only when a batch is asked for."""

    input_shape: tuple[int, int, int]
    load: Callable[[], Images]
    device: torch.device
    batch_size: int
    seed: int

    @cached_property
    def data(self) -> Images:
        return self.load()

    def __iter__(self) -> Iterator[Batch]:
        for index in torch.split(self._order(), self.batch_size):
            yield self._batch(index)

    def per_class(self, count: int) -> Batch:
        """One batch with `count` images of every class, the classes taking turns.

        Raises BadUsage for a class that has fewer.
        """
        if count < 1:
            raise BadUsage(f"per_class={count}: at least one image of each class is needed")
        order = self._order()
        labels = self.data.labels[order]
        rows = []
        for label, name in enumerate(self.data.classes):
            own = order[labels == label][:count]
            if len(own) < count:
                raise BadUsage(
                    f"per_class={count}: the training set has only {len(own)} images of class "
                    f"{name!r}"
                )
            rows.append(own)
        return self._batch(torch.stack(rows, dim=1).flatten())

    def _order(self) -> Tensor:
        draw = torch.Generator().manual_seed(derive_seed(self.seed, "scoring"))
        return torch.randperm(len(self.data.labels), generator=draw)

    def _batch(self, index: Tensor) -> Batch:
        images, labels = self.data.images[index], self.data.labels[index]
        part = replace(self.data, images=images, labels=labels)
        return next(ImageBatches(part, self.device, len(index)).plain())
