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
"""The splits that must have the same classes, by split; for any other split, `train`."""
LARGEST = 4096
"""The most pixels per side to scale to; a checkpoint cannot ask for more."""


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
    """Any image-folder tree, DATA-DIR/{train,test}/CLASS/*; `val` can replace `test`.

    `size` makes images size x size: it scales their shorter side to `resize` (default: `size`) and
    crops the centre. Training images are shifted by up to `pad` pixels (default: 4);
    `crop=random` takes random crops instead, scaled to `size`. `flip` mirrors them at random.
    `grey` reads images with one channel. Pixels are normalised with ImageNet's mean and standard
    deviation (0.5 and 0.25 for grey images). `fraction` keeps that fraction of every class of the
    training set. `stream` decodes images batch by batch, not once into memory, with the same
    result; it is the default for random crops, and for data larger than half of the memory.
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
            f"{printable(str(folders[0]))}: there is no such folder; "
            "give its parent with --data-dir or PRUNECLI_DATA_DIR"
        )
    others = [root / name for name in OTHERS.get(split, ["train"])]
    mode = "L" if grey else "RGB"
    images, labels, classes, notes = read_tree(folder_, mode, view, stream, others)
    most = max(PAD, min(images.shape[1:3]))
    if pad > most:  # all images are stored with their border
        raise BadUsage(f"pad={pad}: it must be at most the images' side, {most}")
    mean, std = ([0.5], [0.25]) if grey else ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    data = Images(images, labels, classes, mean, std, pad=pad, flip=flip, notes=notes)
    return subset(data, split, fraction)


def _view(
    size: int | None, resize: int | None, crop: bool, stream: bool | None, *, training: bool
) -> View | None:
    """The view of an image; None for all of it. Raises BadUsage for invalid options."""
    if size is None:
        if crop or resize is not None:
            raise BadUsage("the data set 'folder' needs a size for resize and for crop=random")
        return None
    if not 1 <= size <= (size if resize is None else resize) <= LARGEST:
        raise BadUsage(
            f"the data set 'folder' needs size of 1 to {LARGEST}, and resize from that to {LARGEST}"
        )
    if crop and stream is False:
        raise BadUsage("crop=random decodes images again in every epoch; leave out stream=false")
    return View(size, resize, crop=crop and training)
