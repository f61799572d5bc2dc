"""Decoding of one image file, from verified bytes, into preallocated memory."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from threading import Condition

import numpy as np
from PIL import Image, UnidentifiedImageError, features
from torch import Tensor

from prunecli.data._contents import check_bytes
from prunecli.data._decode import decoded
from prunecli.data._views import View
from prunecli.errors import BadInput, PruneError, printable
from prunecli.files.reading import CHANGED, Identity, unchanged, unreadable
from prunecli.runtime.shortage import raise_shortage
from prunecli.types import Seen

AVIF = ("AVIF",) if "avif" in features.get_supported() else ()
FORMATS = ("BMP", "DIB", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP", *AVIF)
"""The only formats tried: for some others Pillow runs external programs, whatever the file's
name."""
MOST_PIXELS = Image.MAX_IMAGE_PIXELS or 1 << 27


class _Room:
    """Limits the pixels that all threads together decode at a time, to limit memory."""

    def __init__(self, pixels: int) -> None:
        self.left, self.changed = pixels, Condition()

    @contextmanager
    def of(self, pixels: int) -> Iterator[None]:
        """Wait until there is room. No image has more pixels than the limit."""
        with self.changed:
            self.changed.wait_for(lambda: self.left >= pixels)
            self.left -= pixels
        try:
            yield
        finally:
            with self.changed:
                self.left += pixels
                self.changed.notify_all()


_room = _Room(MOST_PIXELS)
warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # refused below


def fill(file: Seen, row: Tensor, draw: int | None = None, *, mode: str, view: View | None) -> None:
    """Decode a file, if its bytes still have their hash, into `row`, uint8 [H, W, C].

    Without a view that is the whole image; with one, its middle or the part given by `draw`. See
    `read_tree`. Raises BadInput naming the file if it is no image of that size, or has changed.
    """
    raw = _bytes(file.path, Identity(*file.identity))
    if hashlib.sha256(raw).hexdigest() != file.sha256:
        raise BadInput(CHANGED.format(printable(str(file.path))))
    with _opened(file.path, raw) as image:
        first = (row.shape[1], row.shape[0])
        if view is None and sorted(image.size) != sorted(first):  # before it takes memory
            raise _odd_size(file.path, image.size, first)
        with _room.of(_pixels(file.path, image.size, view)):
            whole = decoded(image, mode)
            if view is None and whole.size != first:
                raise _odd_size(file.path, whole.size, first)
            if view is not None:
                whole = view.middle(whole) if draw is None else view.part(whole, draw)
            pixels = np.asarray(whole)
    row.numpy()[...] = pixels.reshape(row.shape)


def size_of(path: Path, identity: Identity, mode: str) -> tuple[int, int]:
    """Height and width of an image file decoded to `mode`. Raises BadInput as `fill` does."""
    with _opened(path, _bytes(path, identity)) as image:
        width, height = decoded(image, mode).size
    return height, width


def _bytes(path: Path, identity: Identity) -> bytes:
    check_bytes(path, identity)
    try:
        with unchanged(path, identity) as (file, _):
            return file.read()
    except OSError as error:
        raise unreadable(path, error) from None


@contextmanager
def _opened(path: Path, raw: bytes) -> Iterator[Image.Image]:
    """An image with its header read. Raises BadInput, for errors in the context too."""
    try:
        with Image.open(BytesIO(raw), formats=FORMATS) as image:
            if math.prod(image.size) > MOST_PIXELS:
                raise Image.DecompressionBombError
            yield image
            return
    except PruneError:
        raise
    except UnidentifiedImageError:  # its message holds a memory address
        what = f"it is not one of {', '.join(FORMATS)}, or a variant that Pillow cannot read"
        what = what if raw else "it is empty"
    except Image.DecompressionBombError:
        what = f"it has over {MOST_PIXELS:,} pixels"
    except Exception as error:  # Pillow raises anything for a broken file
        raise_shortage(error)
        what = printable(str(error)) or type(error).__name__
    raise BadInput(f"{printable(str(path))}: not a readable image ({what}); replace or remove it")


def _pixels(path: Path, sides: tuple[int, int], view: View | None) -> int:
    """The pixels of an image, before or after scaling. Raises BadInput for too many."""
    pixels = view.pixels(sides) if view else math.prod(sides)
    if pixels > MOST_PIXELS:
        raise BadInput(
            f"{printable(str(path))}: scaled, its {sides[0]}x{sides[1]} pixels would become over "
            f"{MOST_PIXELS:,}; remove it, or leave out resize"
        )
    return pixels


def _odd_size(path: Path, own: tuple[int, int], first: tuple[int, int]) -> BadInput:
    """The error for an image whose size, (width, height), differs from the first one's."""
    return BadInput(
        f"{printable(str(path))}: its size {own[::-1]} differs from that of the first image, "
        f"{first[::-1]}; scale all images, as with --dataset-opt size=64"
    )
