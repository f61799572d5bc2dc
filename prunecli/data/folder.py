from __future__ import annotations

from pathlib import Path
from typing import Literal

from prunecli.data._classes import is_folder
from prunecli.data._subset import subset
from prunecli.data._trees import read_tree
from prunecli.data._views import View
from prunecli.errors import BadEnvironment, BadUsage, printable
from prunecli.types import Images

PAD = 4
OTHERS = {"train": ["test", "val"]}
"""The splits whose classes must be those of a split; of any other, it is `train`."""
LARGEST = 4096
"""Pixels of a side that images are scaled to, also as a checkpoint of anybody's may say."""


def folder(
    root: Path,
    split: str,
    download: bool = False,
    *,
    size: int | None = None,
    resize: int | None = None,
    crop: Literal["shift", "random"] = "shift",
    grey: bool = False,
    pad: int | None = None,
    flip: bool = True,
    fraction: float = 1.0,
    stream: bool | None = None,
) -> Images:
    """Any image-folder tree, DATA-DIR/{train,test}/CLASS/*; `val` stands in for `test`.

    `size` scales images to size x size: their shorter side to `resize`, or if not given to `size`,
    of which the middle is cut out. Training images are shifted by up to `pad` pixels, 4 if not
    given; `crop=random` takes random parts of them in their place, scaled to `size`. `flip` mirrors
    them at random. `grey` reads images with one channel. Normalised with ImageNet's mean and
    deviation (0.5 and 0.25 for grey images). `fraction` takes a part of the training set, the same
    of every class. `stream` decodes images batch by batch in place of once into memory, with the
    same result; if not given, that is done for random parts, and for what would fill more than
    half of the memory.
    """
    view = _view(size, resize, crop == "random", stream, training=split == "train")
    pad = pad if pad is not None else 0 if crop == "random" else PAD
    if pad < 0:
        raise BadUsage("the data set 'folder' needs pad of 0 or more")
    if view is not None and view.crop:
        stream = True
    folders = [root / name for name in ([split, "val"] if split == "test" else [split])]
    folder_ = next((folder_ for folder_ in folders if is_folder(folder_)), None)
    if folder_ is None:
        raise BadEnvironment(
            f"{printable(str(folders[0]))}: there is no such folder; name its parent by --data-dir"
        )
    others = [root / name for name in OTHERS.get(split, ["train"])]
    mode = "L" if grey else "RGB"
    images, labels, classes, notes = read_tree(folder_, mode, view, stream, others)
    most = max(PAD, min(images.shape[1:3]))
    if pad > most:  # all images are held with their border
        raise BadUsage(f"pad={pad}: it must be at most the images' side, {most}")
    mean, std = ([0.5], [0.25]) if grey else ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    data = Images(images, labels, classes, mean, std, pad=pad, flip=flip, notes=notes)
    return subset(data, split, fraction)


def _view(
    size: int | None, resize: int | None, crop: bool, stream: bool | None, *, training: bool
) -> View | None:
    """What is seen of an image; None for all of it. Raises BadUsage for what does not fit."""
    if size is None:
        if crop or resize is not None:
            raise BadUsage("the data set 'folder' needs a size with resize, and with crop=random")
        return None
    if not 1 <= size <= (size if resize is None else resize) <= LARGEST:
        raise BadUsage(
            f"the data set 'folder' needs size of 1 to {LARGEST}, and resize from that to {LARGEST}"
        )
    if crop and stream is False:
        raise BadUsage("crop=random decodes images anew in every epoch; leave out stream=false")
    return View(size, resize, crop=crop and training)
