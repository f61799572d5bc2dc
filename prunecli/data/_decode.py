"""Decoding of images as a viewer shows them: upright, on white, in 8 bits.

Pillow's `convert` alone clips values of more than 8 bits, ignores the orientation, and shows the
colours of transparent pixels. Colour profiles and gamma are ignored, as in torchvision.
"""

from __future__ import annotations

import warnings

import numpy as np
from PIL import Image, ImageChops, ImageOps

from prunecli.runtime.shortage import raise_shortage

DECODER = 1
"""The version of decoding. Raise it with any change of pixels: caches are keyed by it."""
SEQUENCES = ("AVIF", "GIF", "PNG", "TIFF", "WEBP")
"""Formats that may hold several images. Further ones in a JPEG are previews."""
BITS, PHOTOMETRIC, PAGE = 258, 262, 254
"""Numbers of TIFF tags."""
REDUCED, IS_MASK = 1, 4
MOST_PAGES = 100
"""The most previews and masks beside an image."""
WHITE_IS_ZERO = 0
AT_ONCE = 1 << 20
DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N")
STRAIGHT = {"La": "LA", "RGBa": "RGBA"}
"""Modes with premultiplied alpha, and the same without."""
SHADES = {"L;2": 85, "L;4": 17}
"""Factors that scale PNG's 2- and 4-bit values to 8; the transparent value is not scaled."""

warnings.filterwarnings("ignore", module=r"PIL\.TiffImagePlugin")  # about odd EXIF, for every image


def decoded(image: Image.Image, mode: str) -> Image.Image:
    """An opened image in `mode`, "L" or "RGB", as a viewer shows it on white.

    Raises ValueError if its look is undefined, and whatever Pillow raises.
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
    """Turn an image as its EXIF says; unreadable EXIF is ignored. Pillow turns a TIFF itself."""
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except Exception as error:  # Pillow raises anything for broken metadata
        raise_shortage(error)


def _key(image: Image.Image) -> object:
    """What is transparent without an alpha channel: a grey value, a colour, parts of a palette.

    Call it before the image is loaded.
    """
    key = image.info.get("transparency")
    tiles = getattr(image, "tile", None)
    if key is None or image.mode == "P" or image.mode in DEEP:
        return key
    raw = tiles[0][3] if tiles else ""
    if isinstance(key, tuple):  # 16-bit values become pixels by their upper bytes
        return tuple(value >> 8 if raw == "RGB;16B" else value & 255 for value in key)
    return key * SHADES.get(raw if isinstance(raw, str) else "", 1) & 255


def _opacity(image: Image.Image, key: object) -> Image.Image | None:
    """The opacity of each pixel, 0 to 255; None if all are opaque."""
    if "A" in image.getbands() and image.mode != "LAB":
        alpha = image.getchannel("A")
        idle = image.format in ("BMP", "DIB") and alpha.getextrema() == (0, 0)
        return None if idle else alpha
    if key is None:
        return None
    return Image.fromarray((np.asarray(image) != key).view(np.uint8) * np.uint8(255))


def _colours(image: Image.Image, mode: str) -> Image.Image:
    """The image in `mode`, transparency ignored."""
    if image.mode == "F":
        raise ValueError("its pixels are floats with no known white; save it with 8 or 16 bits")
    if image.mode in DEEP:
        image = _shallow(image)
    elif image.mode == "LAB":  # Pillow converts LAB to RGB only
        image = image.convert("RGB")
    return image if image.mode == mode else image.convert(mode)


def _shallow(image: Image.Image) -> Image.Image:
    """A grey image of more than 8 bits, rounded to 8."""
    white = _white(image)
    shades = np.arange(white + 1, dtype=np.uint32)
    shades = ((shades * 255 + white // 2) // white).astype(np.uint8)
    if image.format == "TIFF" and _tag(image, PHOTOMETRIC, 1) == WHITE_IS_ZERO:
        shades = shades[::-1]  # Pillow inverts 8-bit images only
    deep = np.asarray(image)
    shallow = np.empty(deep.shape, np.uint8)
    for start in range(0, deep.size, AT_ONCE):  # numpy indexes with 8 bytes each
        shallow.flat[start : start + AT_ONCE] = shades[deep.reshape(-1)[start : start + AT_ONCE]]
    return Image.fromarray(shallow)


def _white(image: Image.Image) -> int:
    """The brightest value of a grey image."""
    if image.format != "TIFF":
        return 65535  # PNG; Pillow scales PGM to it
    if image.mode == "I":
        raise ValueError("its values are signed or have 32 bits; save it with 8 or 16 bits")
    return int((1 << _tag(image, BITS, 16)) - 1)


def _tag(image: Image.Image, number: int, default: int) -> int:
    value = image.tag_v2.get(number, default)  # type: ignore[attr-defined]
    return int(value[0] if isinstance(value, tuple) else value)
