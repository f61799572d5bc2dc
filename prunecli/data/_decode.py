"""What an image looks like: upright, on white, in 8 bits, however it is stored.

Pillow's `convert` alone clips what has more than 8 bits, ignores which side of an image is up, and
shows what lies under transparent pixels. Colour profiles and gamma are left alone, as torchvision
leaves them.
"""

from __future__ import annotations

import warnings

import numpy as np
from PIL import Image, ImageChops, ImageOps

from prunecli.runtime.shortage import raise_shortage

DECODER = 1
"""The version of decoding, to be raised with whatever changes pixels: what is known of decoded
images goes by it."""
SEQUENCES = ("AVIF", "GIF", "PNG", "TIFF", "WEBP")
"""What may hold several images of equal right. Those that a JPEG holds besides are previews."""
BITS, PHOTOMETRIC, PAGE = 258, 262, 254
"""Numbers of TIFF's tags."""
REDUCED, IS_MASK = 1, 4
MOST_PAGES = 100
"""Previews and masks that one image may come with."""
WHITE_IS_ZERO = 0
AT_ONCE = 1 << 20
DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N")
STRAIGHT = {"La": "LA", "RGBa": "RGBA"}
"""Modes whose colours are multiplied with their opacity, and the same without."""
SHADES = {"L;2": 85, "L;4": 17}
"""What PNG's values of so few bits are multiplied with, but not the one that is transparent."""

warnings.filterwarnings("ignore", module=r"PIL\.TiffImagePlugin")  # of odd EXIF, once an image


def decoded(image: Image.Image, mode: str) -> Image.Image:
    """An opened image in `mode`, "L" or "RGB", as a viewer shows it on white.

    Raises ValueError if it does not say how it looks, and what Pillow raises.
    """
    if image.format in SEQUENCES and _is_sequence(image):
        raise ValueError("it holds several images; make each a file of its own")
    key = _key(image)
    image.load()
    _turn(image)
    if key is not None and image.mode not in DEEP:
        image.info["transparency"] = key
        image = image.convert("RGBA")
    elif image.mode in STRAIGHT:
        image = image.convert(STRAIGHT[image.mode])
    opacity = _opacity(image, key)
    colours = _colours(image, mode)
    if opacity is not None:
        white = (255,) * len(colours.getbands())
        colours.paste(white, mask=ImageChops.invert(opacity))
    return colours


def _is_sequence(image: Image.Image) -> bool:
    if not getattr(image, "is_animated", False):
        return False
    if image.format != "TIFF":
        return True
    try:
        for page in range(1, MOST_PAGES):
            image.seek(page)
            if not image.tag_v2.get(PAGE, 0) & (REDUCED | IS_MASK):  # type: ignore[attr-defined]
                return True
    except EOFError:
        return False
    finally:
        image.seek(0)
    return True


def _turn(image: Image.Image) -> None:
    """Turn an image as its EXIF says.

    EXIF that cannot be read says nothing. Pillow turns a TIFF by itself.
    """
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except Exception as error:  # whatever Pillow makes of broken metadata
        raise_shortage(error)


def _key(image: Image.Image) -> object:
    """What is transparent besides an alpha channel: a grey value, a colour or parts of a palette.

    It must be asked for before the image is loaded.
    """
    key = image.info.get("transparency")
    tiles = getattr(image, "tile", None)
    if key is None or image.mode == "P" or image.mode in DEEP:
        return key
    raw = tiles[0][3] if tiles else ""
    if isinstance(key, tuple):  # of 16 bits, the upper halves become the pixels
        return tuple(value >> 8 if raw == "RGB;16B" else value & 255 for value in key)
    return key * SHADES.get(raw if isinstance(raw, str) else "", 1) & 255


def _opacity(image: Image.Image, key: object) -> Image.Image | None:
    """The opacity of each pixel, up to 255; None if all are opaque."""
    if "A" in image.getbands() and image.mode != "LAB":
        alpha = image.getchannel("A")
        idle = image.format in ("BMP", "DIB") and alpha.getextrema() == (0, 0)
        return None if idle else alpha
    if key is None:
        return None
    return Image.fromarray((np.asarray(image) != key).view(np.uint8) * np.uint8(255))


def _colours(image: Image.Image, mode: str) -> Image.Image:
    """The image in `mode`, without regard to what is transparent."""
    if image.mode == "F":
        raise ValueError("its pixels are floats with no known white; save it with 8 or 16 bits")
    if image.mode in DEEP:
        image = _shallow(image)
    elif image.mode == "LAB":  # of which Pillow makes colours only
        image = image.convert("RGB")
    return image if image.mode == mode else image.convert(mode)


def _shallow(image: Image.Image) -> Image.Image:
    """A grey image of more than 8 bits in 8, rounded."""
    white = _white(image)
    shades = np.arange(white + 1, dtype=np.uint32)
    shades = ((shades * 255 + white // 2) // white).astype(np.uint8)
    if image.format == "TIFF" and _tag(image, PHOTOMETRIC, 1) == WHITE_IS_ZERO:
        shades = shades[::-1]  # which Pillow minds of 8 bits only
    deep = np.asarray(image)
    shallow = np.empty(deep.shape, np.uint8)
    for start in range(0, deep.size, AT_ONCE):  # numpy makes 8 bytes of each
        shallow.flat[start : start + AT_ONCE] = shades[deep.reshape(-1)[start : start + AT_ONCE]]
    return Image.fromarray(shallow)


def _white(image: Image.Image) -> int:
    """The brightest value of a grey image."""
    if image.format != "TIFF":
        return 65535  # of PNG; Pillow brings all PGMs to that
    if image.mode == "I":
        raise ValueError("its values are signed or have 32 bits; save it with 8 or 16 bits")
    return int((1 << _tag(image, BITS, 16)) - 1)


def _tag(image: Image.Image, number: int, default: int) -> int:
    value = image.tag_v2.get(number, default)  # type: ignore[attr-defined]
    return int(value[0] if isinstance(value, tuple) else value)
