"""Batches of images: shuffled, shifted and mirrored in one indexing, on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
from torch import Tensor
from torch.nn import functional as F

from prunecli.errors import BadUsage
from prunecli.images.streaming import decoded
from prunecli.runtime.device import has_room
from prunecli.runtime.seeds import derive_seed
from prunecli.runtime.world import World
from prunecli.settings.eval import EVAL_BATCH, MOST_EVAL_BATCH
from prunecli.types import Images, Stream

Batch = tuple[Tensor, Tensor]
EVAL_PIXELS = 1 << 21
"""Pixels that a GPU evaluates at a time: 2,048 images of 32x32. Evaluation holds two or three
layers, training all layers of its images, so what can be trained can be evaluated."""


def eval_batch(device: torch.device, input_shape: tuple[int, int, int]) -> int:
    """The number of images of this shape to evaluate at a time; more on a GPU, if small."""
    if device.type != "cuda":
        return EVAL_BATCH
    _, height, width = input_shape
    return max(EVAL_BATCH, min(MOST_EVAL_BATCH, EVAL_PIXELS // (height * width)))


class ImageBatches:
    """Batches of one image set on a device, as normalised float32 in channels-last memory.

    Each process of a world gets every `size`-th row of a batch, starting at `rank`.
    """

    def __init__(
        self, data: Images, device: torch.device, batch_size: int, world: World | None = None
    ) -> None:
        self.batch_size, self.world = batch_size, world or World()
        self.labels = data.labels.to(device)
        self.flip, self.pad = data.flip, data.pad
        _, self.height, self.width, _ = data.images.shape
        self.padded = _padded(data.images, self.pad, device)
        self.stream = data.images if isinstance(data.images, Stream) else None
        std = torch.tensor(data.std, device=device)
        self.scale = 1 / (255 * std)
        self.shift = -torch.tensor(data.mean, device=device) / std

    def __len__(self) -> int:
        """The number of batches in an epoch; the last one may be smaller.

        A single left-over image joins the batch before it: batch normalisation cannot train on one.
        """
        whole, left = divmod(len(self.labels), self.batch_size)
        return max(1, whole + (left > 1))

    def size(self, batch: int) -> int:
        """The number of images in this batch of an epoch, over all processes."""
        return self._end(batch) - batch * self.batch_size

    def epoch(self, seed: int, start: int = 0) -> Iterator[Batch]:
        """An epoch of training batches, from batch `start` on.

        All random numbers of an epoch are drawn at once from `seed`. So a resumed run gets the same
        batches without computing earlier ones.
        """
        count, device = len(self.labels), self.labels.device
        draw = torch.Generator().manual_seed(seed)
        order = torch.randperm(count, generator=draw)
        window = torch.randint(0, 2 * self.pad + 1, (2, count), generator=draw)
        mirrored = torch.randint(0, 2, (count,), generator=draw).bool() & self.flip
        parts = [
            self.world.rows(batch * self.batch_size, self._end(batch))
            for batch in range(start, len(self))
        ]
        images = self._drawn(draw)([order[part] for part in parts])
        order, window, mirrored = order.to(device), window.to(device), mirrored.to(device)
        for part, (padded, index) in zip(parts, images, strict=True):
            pixels = self._shifted(padded, index, window[:, part], mirrored[part])
            yield self._normalised(pixels), self.labels[order[part]]

    def plain(self) -> Iterator[Batch]:
        """Every image once, in order, not augmented."""
        count = len(self.labels)
        parts = [
            self.world.rows(start, min(start + self.batch_size, count))
            for start in range(0, count, self.batch_size)
        ]
        images = self.padded([torch.arange(count)[part] for part in parts])
        rows, columns = (slice(self.pad, self.pad + side) for side in (self.height, self.width))
        for part, (padded, index) in zip(parts, images, strict=True):
            yield self._normalised(padded[index, rows, columns]), self.labels[part]

    def _drawn(self, draw: torch.Generator) -> Padded:
        """`padded` for an epoch; for a stream with random crops, with new crops."""
        if self.stream is None:
            return self.padded
        return _padded(self.stream.drawn(draw), self.pad, self.labels.device)

    def _end(self, batch: int) -> int:
        last = batch == len(self) - 1
        return len(self.labels) if last else (batch + 1) * self.batch_size

    def _shifted(self, padded: Tensor, index: Tensor, window: Tensor, mirrored: Tensor) -> Tensor:
        if not self.pad and not self.flip:
            return padded[index]
        top, left = window
        rows = torch.arange(self.height, device=index.device) + top[:, None]
        columns = torch.arange(self.width, device=index.device).repeat(len(index), 1)
        columns = torch.where(mirrored[:, None], self.width - 1 - columns, columns) + left[:, None]
        return padded[index[:, None, None], rows[:, :, None], columns[:, None, :]]

    def _normalised(self, images: Tensor) -> Tensor:
        # With one channel, several strides are valid, and torch selects convolutions, which round
        # differently, by the strides. This makes them always the same.
        flat = (images * self.scale + self.shift).reshape(-1)
        return flat.view(images.shape).permute(0, 3, 1, 2)


Padded = Callable[[list[Tensor]], Iterator[tuple[Tensor, Tensor]]]
"""From the indices of each batch's images: padded images, and the batch's indices in these."""


def _padded(images: Tensor | Stream, pad: int, device: torch.device) -> Padded:
    on_gpu = device.type == "cuda"
    if isinstance(images, Stream):
        return _brought(partial(decoded, images, pin=on_gpu), pad, device)
    if has_room(device, images.nbytes):
        return _held(images, pad, device)

    def chosen(indices: list[Tensor]) -> Iterator[Tensor]:
        for index in indices:
            yield images[index].pin_memory() if on_gpu else images[index]

    return _brought(chosen, pad, device)


def _held(images: Tensor, pad: int, device: torch.device) -> Padded:
    # Padded once, not per batch: a shifted image is then a window, found by indexing.
    padded = F.pad(images.to(device), (0, 0, pad, pad, pad, pad))

    def batches(indices: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        # One copy for all: each copy to a GPU waits until it is idle.
        there = torch.cat([torch.empty(0, dtype=torch.long), *indices]).to(device)
        for index in torch.split(there, [len(index) for index in indices]):
            yield padded, index

    return batches


def _brought(
    read: Callable[[list[Tensor]], Iterator[Tensor]], pad: int, device: torch.device
) -> Padded:
    """`Padded` for images that are not on the device; `read` yields one batch at a time."""

    def batches(indices: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in read(indices):
            padded = F.pad(batch.to(device, non_blocking=True), (0, 0, pad, pad, pad, pad))
            yield padded, torch.arange(len(batch), device=device)

    return batches


def split_off(data: Images, fraction: float, seed: int) -> tuple[Images, Images]:
    """The rest, and round(fraction * n) images of every class, chosen by the seed.

    Raises BadUsage if either would be empty.
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
    """`types.Batches` of a training set that is loaded at the first use."""

    input_shape: tuple[int, int, int]
    load: Callable[[], Images]
    device: torch.device
    batch_size: int
    seed: int

    @cached_property
    def data(self) -> Images:
        return self.load()

    def __iter__(self) -> Iterator[Batch]:
        order = self._order()
        if isinstance(self.data.images, Stream):  # decoded ahead of time, by several threads
            yield from self._batches(order)
            return
        for index in torch.split(order, self.batch_size):
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
        return next(self._batches(index, len(index)))

    def _batches(self, index: Tensor, size: int | None = None) -> Iterator[Batch]:
        images, labels = self.data.images[index], self.data.labels[index]
        part = replace(self.data, images=images, labels=labels)
        return ImageBatches(part, self.device, size or self.batch_size).plain()
