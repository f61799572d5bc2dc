"""Image-folder trees (`ROOT/CLASS/*`), decoded into memory once, or batch by batch."""

from __future__ import annotations

import gc
import hashlib
import math
import os
import stat
from collections.abc import Iterator
from functools import partial, wraps
from pathlib import Path
from typing import Any, cast

import PIL
import torch
from PIL import ImageMode
from torch import Tensor

from prunecli.data._cache import cached
from prunecli.data._contents import contents
from prunecli.data._pixels import fill, size_of
from prunecli.data._threads import in_threads
from prunecli.errors import BadEnvironment, printable, reason
from prunecli.files.reading import Identity, unreadable
from prunecli.machine import memory
from prunecli.shortage import raise_shortage
from prunecli.types import F, Seen, Stream

EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def uncollected(function: F) -> F:
    """Within the function nothing is looked through for garbage.

    Of ten thousands of files, what is known stays: that would be looked through time and again.
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
    root: Path, mode: str, size: int | None = None, stream: bool | None = False
) -> tuple[Tensor | Stream, Tensor, list[str]]:
    """Images [N, H, W, C] uint8, labels [N] int64 and class names of `ROOT/CLASS/*`.

    Classes and files come in alphabetical order. `mode` is Pillow's, "L" or "RGB". With `size`,
    the shorter side is scaled to it and the middle is cut out square; without, all images must be
    of one size. Decoded images are cached on disk, keyed by every file's name and content; with
    `stream` they are neither cached nor held in memory, which None leaves to how many there are.

    Raises BadEnvironment if there is no such tree, or if it does not fit into memory, BadInput
    naming an image that cannot be read.
    """
    classes = sorted(name for name, status in _scan(root) if _is_class(name, status))
    found = [_images(root / name) for name in classes]
    names = [name for images in found for name, _ in images]
    identities = [identity for images in found for _, identity in images]
    labels = [label for label, images in enumerate(found) for _ in images]
    if not names:
        label = printable(str(root))
        raise BadEnvironment(f"{label}: there are no images in {label}/CLASS/")

    def path(at: int) -> Path:
        return Path(f"{root}/{classes[labels[at]]}/{names[at]}")

    first = size_of(path(0), identities[0]) if size is None else (size, size)
    one = (*first, len(ImageMode.getmode(mode).bands))
    stream = _is_streamed(root, len(names) * math.prod(one), stream)
    hashes = contents(root, path, identities)

    def files() -> list[Seen]:
        return list(map(Seen, map(path, range(len(names))), identities, hashes))

    read = partial(fill, mode=mode, size=size)
    if stream:
        return Stream(files(), one, read), torch.tensor(labels), classes

    def decode() -> dict[str, Tensor]:
        images = torch.empty((len(names), *one), dtype=torch.uint8)
        in_threads(lambda each: read(*each), list(zip(files(), images, strict=True)))
        return {"images": images}

    told = "\0".join([mode, str(size), PIL.__version__, *hashes, *names])
    key = hashlib.sha256(os.fsencode(told) + str(labels).encode()).hexdigest()
    forms = {"images": ("U8", (len(names), *one))}
    return cached(key, forms, decode)["images"], torch.tensor(labels), classes


def _is_streamed(root: Path, size: int, asked: bool | None) -> bool:
    """Whether to stream images of that many bytes: as asked for, or those of half the memory.

    Raises BadEnvironment for what is to be in memory and cannot be.
    """
    room = memory()
    if asked or (asked is None and size > room / 2):
        return True
    if size > room:
        raise BadEnvironment(
            f"{printable(str(root))}: its images take {size / 1e9:.1f} GB, and there are "
            f"{room / 1e9:.1f} GB of memory; read them as they are needed, or smaller: "
            "--dataset folder --dataset-opt stream=true, or size=64"
        )
    return False


def _scan(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Names in a folder, and what they or, of links, what these lead to is.

    Raises BadEnvironment if the folder cannot be read, BadInput naming a link that leads nowhere.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _missing(folder, error) from None
    try:  # by the descriptor, which saves finding the folder anew for each of its files
        with os.scandir(descriptor) as entries:
            for entry in entries:
                yield entry.name, entry.stat()
    except OSError as error:
        raise unreadable(folder / str(error.filename), error) from None
    finally:
        os.close(descriptor)


def _is_class(name: str, status: os.stat_result) -> bool:
    return not name.startswith(".") and stat.S_ISDIR(status.st_mode)


def _images(folder: Path) -> list[tuple[str, Identity]]:
    """The images of a class, by their names."""
    found = _scan(folder)
    return sorted((name, Identity.of(status)) for name, status in found if _is_image(name.lower()))


def _is_image(name: str) -> bool:
    return name.endswith(EXTENSIONS) and name not in EXTENSIONS


def _missing(folder: Path, error: OSError) -> BadEnvironment:
    raise_shortage(error)
    return BadEnvironment(f"{printable(str(folder))}: cannot be read: {reason(error)}")


def is_folder(path: Path) -> bool:
    """Raises BadEnvironment where that cannot be found out."""
    try:
        return path.is_dir()
    except OSError as error:
        raise _missing(path, error) from None


def find_split(root: Path, name: str, split: str) -> Path | None:
    """`ROOT/NAME/SPLIT` if it is a folder, for the image-folder form of a named data set."""
    folder = root / name / split
    return folder if is_folder(folder) else None
