"""Image-folder trees (`ROOT/CLASS/*`) decoded into memory, once."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from prunecli.data._cache import cached
from prunecli.errors import BadEnvironment, BadInput

EXTENSIONS = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}


def read_tree(root: Path, mode: str, size: int | None = None) -> tuple[Tensor, Tensor, list[str]]:
    """Images [N, H, W, C] uint8, labels [N] int64 and class names of `ROOT/CLASS/*`.

    Classes and files come in alphabetical order. `mode` is Pillow's, "L" or "RGB". With `size`,
    the shorter side is scaled to it and the middle is cut out square; without, all images must be
    of one size. Decoded images are cached on disk, keyed by every file's name, size and time.

    Raises BadEnvironment if there is no such tree, BadInput naming an image that cannot be read.
    """
    classes = sorted(
        entry.name for entry in _scan(root) if entry.is_dir() and not entry.name.startswith(".")
    )
    files = [
        (entry, label)
        for label, name in enumerate(classes)
        for entry in sorted(_scan(root / name), key=lambda e: e.name)
        if Path(entry.name).suffix.lower() in EXTENSIONS
    ]
    if not files:
        raise BadEnvironment(f"{root}: there are no images in {root}/CLASS/")
    digest = hashlib.sha256(f"{root.resolve()}|{mode}|{size}".encode())
    for entry, label in files:
        status = entry.stat()
        digest.update(f"|{label}/{entry.name}|{status.st_size}|{status.st_mtime_ns}".encode())

    def decode() -> dict[str, Tensor]:
        def read(file: tuple[os.DirEntry[str], int]) -> np.ndarray:
            return _read_image(file[0].path, mode, size)

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            arrays = list(pool.map(read, files))
        _check_one_size(arrays, files)
        images = torch.from_numpy(np.stack(arrays))
        return {"images": images, "labels": torch.tensor([label for _, label in files])}

    tensors = cached(digest.hexdigest(), decode)
    return tensors["images"], tensors["labels"], classes


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise BadEnvironment(f"{folder}: cannot be read: {error.strerror}") from None


def _read_image(path: str, mode: str, size: int | None) -> np.ndarray:
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
    array = np.asarray(image, dtype=np.uint8)
    return array[:, :, None] if array.ndim == 2 else array


def _check_one_size(arrays: list[np.ndarray], files: list[tuple[os.DirEntry[str], int]]) -> None:
    for array, (entry, _) in zip(arrays, files, strict=True):
        if array.shape != arrays[0].shape:
            raise BadInput(
                f"{entry.path}: its size {array.shape[:2]} is not that of the first image, "
                f"{arrays[0].shape[:2]}; give one to scale to, as in --dataset-opt size=64"
            )


def find_split(root: Path, name: str, split: str) -> Path | None:
    """`ROOT/NAME/SPLIT` if it is a folder, for the image-folder form of a named data set."""
    folder = root / name / split
    return folder if folder.is_dir() else None
