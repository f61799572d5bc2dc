"""Image-folder trees (`ROOT/CLASS/*`), decoded into memory, or batch by batch."""

from __future__ import annotations

import gc
import hashlib
import math
import os
from collections.abc import Sequence
from functools import partial, wraps
from pathlib import Path
from typing import Any, cast

import PIL
import torch
from PIL import ImageMode
from torch import Tensor

from prunecli.data._cache import cached
from prunecli.data._classes import check_alike, is_folder, survey
from prunecli.data._contents import contents
from prunecli.data._decode import DECODER
from prunecli.data._pixels import fill, size_of
from prunecli.data._threads import in_threads
from prunecli.data._views import View
from prunecli.errors import BadEnvironment, printable
from prunecli.runtime.machine import memory
from prunecli.types import F, Seen, Stream


def uncollected(function: F) -> F:
    """The function, run without garbage collection.

    It would scan the objects of tens of thousands of files, none of them garbage, repeatedly.
    """

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        collects = gc.isenabled()
        gc.disable()
        try:
            return function(*args, **kwargs)
        finally:
            if collects:
                gc.enable()

    return cast(F, call)


@uncollected
def read_tree(
    root: Path,
    mode: str,
    view: View | None = None,
    stream: bool | None = False,
    others: Sequence[Path] = (),
) -> tuple[Tensor | Stream, Tensor, list[str], tuple[str, ...]]:
    """Images [N, H, W, C] uint8, labels [N] int64, class names and notes of `ROOT/CLASS/*`.

    Classes and files are in alphabetical order. `mode` is Pillow's, "L" or "RGB". Without a view,
    all images must have one size. Decoded images are cached on disk, keyed by every file's name and
    content. With `stream`, they are neither cached nor held in memory; None streams what exceeds
    half of the memory; random crops need it. `others` are possible folders of another split; the
    first that exists counts.

    Raises BadEnvironment if there is no such tree or it does not fit into memory, BadInput naming
    an unreadable image or a class without images, Mismatch if the other split has other classes.
    """
    tree = survey(root)
    check_alike(tree, others)
    names = [name for images in tree.images for name, _ in images]
    identities = [identity for images in tree.images for _, identity in images]
    labels = [label for label, images in enumerate(tree.images) for _ in images]
    own = torch.tensor(labels), tree.classes, tree.notes

    def path(at: int) -> Path:
        return Path(f"{root}/{tree.classes[labels[at]]}/{names[at]}")

    first = (view.size, view.size) if view else size_of(path(0), identities[0], mode)
    one = (*first, len(ImageMode.getmode(mode).bands))
    stream = _is_streamed(root, len(names) * math.prod(one), stream)
    hashes = contents(root, path, identities)

    def files() -> list[Seen]:
        return list(map(Seen, map(path, range(len(names))), identities, hashes))

    read = partial(fill, mode=mode, view=view)
    if stream:
        how = ", ".join([f"decoder {DECODER}", *(view.told if view else [])])
        crop = read if view is not None and view.crop else None
        return Stream(files(), one, read, how, crop), *own

    def decode() -> dict[str, Tensor]:
        images = torch.empty((len(names), *one), dtype=torch.uint8)
        in_threads(lambda each: read(*each), list(zip(files(), images, strict=True)))
        return {"images": images}

    scaling = view.scaling if view else "None"
    told = "\0".join([mode, scaling, PIL.__version__, str(DECODER), *hashes, *names])
    key = hashlib.sha256(os.fsencode(told) + str(labels).encode()).hexdigest()
    forms = {"images": ("U8", (len(names), *one))}
    return cached(key, forms, decode)["images"], *own


def _is_streamed(root: Path, size: int, asked: bool | None) -> bool:
    """Whether to stream images of `size` bytes: as asked, else if over half of the memory.

    Raises BadEnvironment if they are not streamed and do not fit into memory.
    """
    room = memory()
    if asked or (asked is None and size > room / 2):
        return True
    if size > room:
        raise BadEnvironment(
            f"{printable(str(root))}: its images need {size / 1e9:.1f} GB, but there are "
            f"{room / 1e9:.1f} GB of memory; stream them, or make them smaller: "
            "--dataset folder --dataset-opt stream=true, or size=64"
        )
    return False


def find_split(root: Path, name: str, split: str) -> Path | None:
    """The folder `ROOT/NAME/SPLIT`, a data set's image folders; None if there is none."""
    folder = root / name / split
    return folder if is_folder(folder) else None
