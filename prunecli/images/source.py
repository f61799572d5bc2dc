"""Data sets: choosing, loading and checking them, and a fingerprint of their content."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from prunecli.errors import BadEnvironment, BadUsage, Mismatch, some
from prunecli.files.records import CheckpointRecord, ModelRecord
from prunecli.network.modules import theirs
from prunecli.plugins.plugin import Plugin
from prunecli.plugins.resolve import resolve
from prunecli.runtime.facts import canonical
from prunecli.runtime.progress import Progress
from prunecli.settings.data import FIRST_DATASET, DataSettings
from prunecli.types import Images, Stream, form

WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
WANTED = "uint8 [number, height, width, channels]"
LEAST_STD = 1e-6
ONE_EACH = "a class for each image, as whole numbers from 0"


@dataclass(frozen=True)
class Source:
    """A data set with its options, and its folder."""

    plugin: Plugin
    data_dir: Path
    download: bool

    @classmethod
    def of(cls, settings: DataSettings, checkpoint: CheckpointRecord | None) -> Source:
        """The data set of the settings, else the checkpoint's, else `FIRST_DATASET`.

        Raises BadUsage if the checkpoint names none.
        """
        name, given, by_file = settings.dataset, dict(settings.options), False
        if name is None and checkpoint is None:
            name = FIRST_DATASET
        if name is None:
            own = checkpoint.dataset if checkpoint else None
            if own is None:
                raise BadUsage("no data set is given; choose one with --dataset")
            name, given, by_file = own.name, {**(own.options or {}), **given}, True
        plugin = resolve("data", name, given, by_file=by_file)
        return cls(plugin, settings.data_dir, settings.download)

    @property
    def dataset(self) -> str:
        """The name of the data set."""
        return self.plugin.name

    @property
    def options(self) -> Mapping[str, Any]:
        """The options of the data set, parsed."""
        return self.plugin.options

    def load(
        self,
        split: str,
        checkpoint: CheckpointRecord | None = None,
        progress: Progress | None = None,
    ) -> Images:
        """A split of the data set. Raises Mismatch if it does not fit the checkpoint.

        `progress` gets the notes on the images as warnings.
        """
        said, here = canonical(self.options), Path.cwd()
        images = _images(self.plugin, said, self.data_dir, here, self.download, split)
        if checkpoint is not None and checkpoint.model is not None:
            check_data_fits(checkpoint.model, checkpoint.classes, images)
        if progress is not None:
            for note in images.notes:
                progress.warn(note)
        return images


@dataclass(frozen=True)
class GivenImages:
    """Images that are already loaded, without a name."""

    images: Images
    dataset: None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def load(
        self,
        split: str,
        checkpoint: CheckpointRecord | None = None,
        progress: Progress | None = None,
    ) -> Images:
        """The images, whatever the split; see `Source.load`."""
        if checkpoint is not None and checkpoint.model is not None:
            check_data_fits(checkpoint.model, checkpoint.classes, self.images)
        return self.images


@lru_cache(maxsize=4)
def _images(
    plugin: Plugin, said: str, data_dir: Path, here: Path, download: bool, split: str
) -> Images:
    """The images of a split, cached for this process's next job: loading takes seconds.

    Two arguments are only for the key: `here`, the base of a relative folder, and `said`, which
    distinguishes equal options such as 1 and 1.0.
    """
    return loaded(plugin, data_dir, split, download)


def loaded(plugin: Plugin, root: Path, split: str, download: bool) -> Images:
    """A split of a data set, checked by `sound`.

    Raises BadEnvironment for any error of other people's plugins.
    """
    with nullcontext() if plugin.own else theirs(f"{plugin.label} failed", BadEnvironment):
        data = plugin(root, split, download)
    return sound(data, plugin.name)


def sound(data: Images, name: str) -> Images:
    """The data set in contiguous CPU memory, with int64 labels; `name` is for messages.

    Raises Mismatch if it is not as `types.Images` describes.
    """
    try:
        images, classes = _pixels(data.images), _classes(data.classes)
        labels = _labels(data.labels, images.shape[0], len(classes))
        channels = images.shape[3]
        mean = _norm("mean", data.mean, channels, 0)
        std = _norm("std", data.std, channels, LEAST_STD)
        padded = type(data.pad) is int and 0 <= data.pad <= max(images.shape[1:3])
        if not padded or type(data.flip) is not bool:
            wanted = "pad is from 0 to an image's side, flip a bool"
            raise _Unsound(f"pad={data.pad!r:.40}, flip={data.flip!r}", wanted)
    except _Unsound as error:
        raise Mismatch(f"data set {name!r} gives {error}") from None
    notes = (data.notes,) if isinstance(data.notes, str) else tuple(map(str, data.notes))
    parts = replace(data, images=images, labels=labels, classes=classes, notes=notes)
    return replace(parts, mean=mean, std=std)


class _Unsound(ValueError):
    def __init__(self, found: str, wanted: str) -> None:
        super().__init__(f"{found}; {wanted} (docs/data.md)")


def _pixels(images: Tensor | Stream) -> Tensor | Stream:
    if not isinstance(images, Stream) and not _are_pixels(images):
        raise _Unsound(f"images that are {form(images)}", f"they must be {WANTED}")
    if not all(side > 0 for side in images.shape):
        raise _Unsound(f"images of shape {list(images.shape)}", "there must be at least one")
    return images if isinstance(images, Stream) else _here(images)


def _are_pixels(images: Any) -> bool:
    dense = isinstance(images, Tensor) and not images.is_nested
    return dense and (images.dtype, images.ndim) == (torch.uint8, 4)


def _labels(labels: Tensor, count: int, classes: int) -> Tensor:
    if not isinstance(labels, Tensor) or labels.dtype not in WHOLE or labels.ndim != 1:
        what = f"labels that are {form(labels)}"
        raise _Unsound(what, f"prunecli is for classification: {ONE_EACH}")
    labels = _here(labels).long()
    if len(labels) != count:
        raise _Unsound(f"{len(labels)} labels for {count} images", ONE_EACH)
    least, most = int(labels.min()), int(labels.max())
    if least < 0 or most >= classes:
        raise _Unsound(f"labels from {least} to {most} for {classes} classes", ONE_EACH)
    return labels


def _classes(classes: Any) -> list[str]:
    if not isinstance(classes, list | tuple):
        raise _Unsound(f"classes of type {type(classes).__name__}", "they are a list of names")
    names = list(classes)
    if odd := [each for each in names if not isinstance(each, str)]:
        raise _Unsound(f"the class {odd[0]!r}", "class names must be text")
    if odd := [name for name, count in Counter(names).items() if count > 1]:
        raise _Unsound(f"the class {odd[0]!r} twice", "class names must be unique")
    return names


def _norm(what: str, given: Any, channels: int, least: float) -> list[float]:
    """A mean or std: a number per channel, from `least` to 1."""
    wanted = f"it must be a number for each channel ({channels}), of pixels scaled to [0, 1]"
    try:
        numbers = [float(number) for number in given]
    except (TypeError, ValueError, RuntimeError, OverflowError):
        numbers = []
    if len(numbers) != channels or not all(least <= number <= 1 for number in numbers):
        raise _Unsound(f"{what}={given!r:.80}".replace("\n", " "), wanted)
    return numbers


def _here(tensor: Tensor) -> Tensor:
    if tensor.is_meta or tensor.layout is not torch.strided:
        odd = "meta" if tensor.is_meta else str(tensor.layout)
        raise _Unsound(f"a tensor that is {form(tensor)} ({odd})", "it must be dense, with values")
    return tensor.detach().cpu().contiguous()


def check_data_fits(model: ModelRecord, named: Iterable[str] | None, data: Images) -> None:
    """Raise Mismatch unless the network was built for such images and these classes."""
    own, classes, names = model.input_shape, model.classes, list(named or ())
    if (own, classes) != (data.input_shape, len(data.classes)):
        raise Mismatch(
            f"the network takes {'x'.join(map(str, own))} images of {classes} classes, but the "
            f"data has {'x'.join(map(str, data.input_shape))} images of {len(data.classes)} classes"
            + (f": {_differ(names, data.classes)}" if names and names != data.classes else "")
        )
    if names and names != data.classes:
        raise Mismatch(f"the data's classes are not the network's: {_differ(names, data.classes)}")


def _lacking(names: list[str], others: list[str]) -> list[str]:
    there = set(others)
    return [name for name in names if name not in there]


def _differ(names: list[str], others: list[str]) -> str:
    """In words, the classes that the data lacks, and those that the network lacks."""
    less, more = (_lacking(a, b) for a, b in ((names, others), (others, names)))
    parts = [f"there is no {some(less)}"] * bool(less) + [f"{some(more)} are new"] * bool(more)
    return " and ".join(parts) or f"they are in another order, {some(others)}"


@lru_cache(maxsize=4)
def fingerprint(data: Images) -> str:
    """SHA-256 of images, labels, classes, normalisation and augmentation, however stored.

    For streamed images, names and hashes of the files replace the pixels.
    """
    norm = [[float(number) for number in numbers] for numbers in (data.mean, data.std)]
    said = [list(map(str, data.classes)), norm, data.pad, data.flip, list(data.images.shape)]
    digest = hashlib.sha256(json.dumps(said).encode())
    if isinstance(data.images, Stream):
        digest.update(data.images.how.encode())
        for path, _, sha256 in data.images.files:
            digest.update(os.fsencode(f"{path.parent.name}/{path.name}\0{sha256}\0"))
    else:
        digest.update(data.images.numpy().data)
    digest.update(data.labels.numpy().data)
    return digest.hexdigest()
