"""Image-folder trees (`ROOT/CLASS/*`), decoded into memory once, or batch by batch."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from prunecli.data._cache import cached
from prunecli.errors import BadEnvironment, BadInput
from prunecli.types import Stream

EXTENSIONS = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}


def read_tree(
    root: Path, mode: str, size: int | None = None, stream: bool | None = False
) -> tuple[Tensor | Stream, Tensor, list[str]]:
    """Images [N, H, W, C] uint8, labels [N] int64 and class names of `ROOT/CLASS/*`.

    Classes and files come in alphabetical order. `mode` is Pillow's, "L" or "RGB". With `size`,
    the shorter side is scaled to it and the middle is cut out square; without, all images must be
    of one size. Decoded images are cached on disk, keyed by every file's name, size and time; with
    `stream` they are neither cached nor held in memory, which None leaves to how many there are.

    Raises BadEnvironment if there is no such tree, BadInput naming an image that cannot be read.
    """
    classes = sorted(
        entry.name for entry in _scan(root) if entry.is_dir() and not entry.name.startswith(".")
    )
    files = [
        (entry, label)
        for label, name in enumerate(classes)
        for entry in sorted(_scan(root / name), key=lambda e: e.name)
        if os.path.splitext(entry.name)[1].lower() in EXTENSIONS  # noqa: PTH122 - of 60,000 files
    ]
    if not files:
        raise BadEnvironment(f"{root}: there are no images in {root}/CLASS/")
    entries = [entry for entry, _ in files]
    labels = torch.tensor([label for _, label in files])
    read = partial(_read_image, mode=mode, size=size)
    if stream is None:
        stream = _least_bytes(entries, mode, size) > memory() / 2
    if stream:
        return _stream(_paths(entries), read), labels, classes
    told_apart = [f"{root.resolve()}|{mode}|{size}"]
    for entry, label in files:
        status = entry.stat()
        told_apart.append(f"{label}/{entry.name}|{status.st_size}|{status.st_mtime_ns}")
    key = hashlib.sha256("|".join(told_apart).encode()).hexdigest()

    def decode() -> dict[str, Tensor]:
        paths = _paths(entries)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            images = list(pool.map(read, paths))
        for path, image in zip(paths, images, strict=True):
            _check_size(path, image, images[0])
        return {"images": torch.stack(images), "labels": labels}

    tensors = cached(key, decode)
    return tensors["images"], tensors["labels"], classes


def _paths(entries: list[os.DirEntry[str]]) -> list[Path]:
    return [Path(entry.path) for entry in entries]


def _stream(paths: list[Path], read: Callable[[Path], Tensor]) -> Stream:
    first = read(paths[0])
    height, width, channels = first.shape
    sizes = [path.stat().st_size for path in paths]
    return Stream(paths, sizes, (height, width, channels), partial(_checked, read, first))


def _checked(read: Callable[[Path], Tensor], first: Tensor, path: Path) -> Tensor:
    image = read(path)
    _check_size(path, image, first)
    return image


def _least_bytes(entries: list[os.DirEntry[str]], mode: str, size: int | None) -> int:
    """Of the decoded images; of those that are not scaled, what their files take."""
    if size is None:
        return sum(entry.stat().st_size for entry in entries)
    return len(entries) * size * size * len(Image.new(mode, (1, 1)).getbands())


def memory() -> int:
    """Bytes of memory that the machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise BadEnvironment(f"{folder}: cannot be read: {error.strerror}") from None


def _read_image(path: Path, mode: str, size: int | None) -> Tensor:
    try:
        with Image.open(path) as file:
            image = file.convert(mode)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadInput(f"{path}: not a readable image ({error}); replace or remove it") from None
    if size is not None and image.size != (size, size):
        scale = size / min(image.size)
        width, height = (max(size, round(side * scale)) for side in image.size)
        left, top = (width - size) // 2, (height - size) // 2
        image = image.resize((width, height), Image.Resampling.BILINEAR)
        image = image.crop((left, top, left + size, top + size))
    pixels = torch.from_numpy(np.array(image, dtype=np.uint8))
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def _check_size(path: Path, image: Tensor, first: Tensor) -> None:
    if image.shape != first.shape:
        raise BadInput(
            f"{path}: its size {tuple(image.shape[:2])} is not that of the first image, "
            f"{tuple(first.shape[:2])}; give one to scale to, as in --dataset-opt size=64"
        )


def find_split(root: Path, name: str, split: str) -> Path | None:
    """`ROOT/NAME/SPLIT` if it is a folder, for the image-folder form of a named data set."""
    folder = root / name / split
    return folder if folder.is_dir() else None
