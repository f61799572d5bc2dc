"""Loads a data set, and sees that it is what everything else takes it for: it may be anybody's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from prunecli import registry
from prunecli.errors import BadEnvironment, Mismatch, PruneError
from prunecli.shortage import raise_shortage
from prunecli.types import Images, Stream, form

WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
WANTED = "uint8 [number, height, width, channels]"
LEAST_STD = 1e-6
ONE_EACH = "a class for each image, as whole numbers from 0 on"


def loaded(name: str, root: Path, split: str, download: bool, options: Mapping[str, Any]) -> Images:
    """A split of the data set of that name; see `sound`.

    Raises BadEnvironment where somebody else's fails, whatever it raises.
    """
    load: Callable[..., Images] = registry.find("data", name)
    try:
        data = load(root, split, download, **options)
    except Exception as error:
        own = registry.names("data").get(name, name) is None
        if own or isinstance(error, PruneError):
            raise
        raise_shortage(error)
        why = f"{type(error).__name__}: {error}".partition("\n")[0]
        what = f"data set {name!r} failed: {why}; PRUNECLI_DEBUG=1 shows where"
        raise BadEnvironment(what) from error
    return sound(data, name)


def sound(data: Images, name: str) -> Images:
    """The data set of that name, in the CPU's memory and laid out as it looks, labels int64.

    Raises Mismatch for what is no set of labelled images as `types.Images` says.
    """
    try:
        images, classes = _images(data.images), _classes(data.classes)
        labels = _labels(data.labels, images.shape[0], len(classes))
        channels = images.shape[3]
        mean = _norm("mean", data.mean, channels, 0)
        std = _norm("std", data.std, channels, LEAST_STD)
        if type(data.pad) is not int or data.pad < 0 or type(data.flip) is not bool:
            raise _Unsound(f"pad={data.pad!r}, flip={data.flip!r}", "pad is 0 or more, flip a bool")
    except _Unsound as error:
        raise Mismatch(f"data set {name!r} gives {error}") from None
    notes = tuple(map(str, data.notes))
    parts = replace(data, images=images, labels=labels, classes=classes, notes=notes)
    return replace(parts, mean=mean, std=std)


class _Unsound(ValueError):
    def __init__(self, found: str, wanted: str) -> None:
        super().__init__(f"{found}; {wanted} (docs/data.md)")


def _images(images: Tensor | Stream) -> Tensor | Stream:
    whole = isinstance(images, Tensor) and (images.dtype, images.ndim) == (torch.uint8, 4)
    if not whole and not isinstance(images, Stream):
        raise _Unsound(f"images that are {form(images)}", f"they must be {WANTED}")
    if not all(side > 0 for side in images.shape):
        raise _Unsound(f"images of shape {list(images.shape)}", "there must be some")
    return images if isinstance(images, Stream) else _here(images)


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
        raise _Unsound(f"the class {odd[0]!r}", "classes have names, which are text")
    if odd := [name for name, count in Counter(names).items() if count > 1]:
        raise _Unsound(f"the class {odd[0]!r} twice", "each has a name of its own")
    return names


def _norm(what: str, given: Any, channels: int, least: float) -> list[float]:
    """A number for each channel, of pixels from 0 to 1."""
    wanted = f"it must be a number for each channel ({channels}), of pixels scaled to [0, 1]"
    try:
        numbers = [float(number) for number in given]
    except (TypeError, ValueError, RuntimeError):
        numbers = []
    if len(numbers) != channels or not all(least <= number <= 1 for number in numbers):
        raise _Unsound(f"{what}={given!r}".replace("\n", " "), wanted)
    return numbers


def _here(tensor: Tensor) -> Tensor:
    if tensor.is_meta or tensor.layout is not torch.strided:
        odd = "meta" if tensor.is_meta else str(tensor.layout)
        raise _Unsound(f"a tensor that is {form(tensor)} ({odd})", "it must be dense, with values")
    return tensor.detach().cpu().contiguous()
