"""A picture of every kind of colour and opacity, and those that do not say how they look."""

import struct

import numpy as np
import pytest
from pictures import (
    COLOUR,
    DEEP,
    GLYPH,
    GREY,
    INKED,
    PALETTE,
    RGB,
    SHADES,
    SIZE,
    held,
    packed,
    png,
    read,
    rows,
    saved,
    tiff,
)  # fmt: skip
from PIL import Image, features

from prunecli.errors import BadInput


def with_alpha(colour, alpha):
    return np.stack([np.full_like(alpha, colour)] * 3 + [alpha], -1)


def with_palette(values, palette):
    image = Image.fromarray(values)
    image.putpalette(palette)
    return image


ALPHA = GLYPH * np.uint8(255)
PARTS = GLYPH * np.uint8(1)
SEEN = {
    "RGBA PNG": saved(with_alpha(0, ALPHA), "PNG"),
    "LA PNG": saved(np.stack([0 * ALPHA, ALPHA], -1), "PNG"),
    "16-bit RGBA PNG": png(
        16, 6, (4, 2), rows(with_alpha(0, ALPHA).astype(">u2").reshape(2, -1) * 257)
    ),
    "16-bit LA PNG": png(
        16, 4, (4, 2), rows(np.stack([0 * ALPHA, ALPHA], -1).astype(">u2").reshape(2, -1) * 257)
    ),
    "PNG of a grey that is transparent": saved(9 - 9 * GLYPH, "PNG", transparency=9),
    "16-bit PNG of a grey that is transparent": saved(
        (9 - 9 * GLYPH).astype(np.uint16), "PNG", transparency=9
    ),
    "2-bit PNG of a grey that is transparent": png(
        2, GREY, (4, 2), rows(packed(1 - PARTS, 2)), tRNS=struct.pack(">H", 1)
    ),
    "4-bit PNG of a grey that is transparent": png(
        4, GREY, (4, 2), rows(packed(3 - 3 * PARTS, 4)), tRNS=struct.pack(">H", 3)
    ),
    "1-bit PNG of a white that is transparent": png(
        1, GREY, (4, 2), rows(packed(1 - PARTS, 1)), tRNS=struct.pack(">H", 1)
    ),
    "PNG of a colour that is transparent": saved(
        with_alpha(0, ALPHA)[..., :3] + (9 - 9 * GLYPH)[..., None], "PNG", transparency=(9, 9, 9)
    ),
    "16-bit PNG of a colour that is transparent": png(
        16,
        RGB,
        (4, 2),
        rows(np.repeat((1 - GLYPH).astype(">u2") * 0x909, 3, 1)),
        tRNS=struct.pack(">HHH", 0x909, 0x909, 0x909),
    ),
    "PNG of a palette with one that is transparent": png(
        8, PALETTE, (4, 2), rows(GLYPH), PLTE=bytes(6), tRNS=b"\0"
    ),
    "PNG of a palette with opacities": png(
        8, PALETTE, (4, 2), rows(2 - GLYPH), PLTE=bytes(9), tRNS=b"\x80\xff\0"
    ),
    "GIF": saved(with_palette(GLYPH, (9, 9, 9, 0, 0, 0)), "GIF", transparency=0),
    "lossless WebP": saved(with_alpha(0, ALPHA), "WEBP", lossless=True),
    "RGBA TIFF": saved(with_alpha(0, ALPHA), "TIFF"),
    "premultiplied TIFF": tiff((4, 2), with_alpha(0, ALPHA).tobytes(), (8,) * 4, 2, 4, t338=1),
    "grey TIFF with opacity": tiff(
        (4, 2), np.stack([0 * ALPHA, ALPHA], -1).tobytes(), (8, 8), 1, 2, t338=2
    ),
    "premultiplied grey TIFF": tiff(
        (4, 2), np.stack([0 * ALPHA, ALPHA], -1).tobytes(), (8, 8), 1, 2, t338=1
    ),
    "TIFF of a palette with opacity": tiff(
        (4, 2),
        np.stack([GLYPH, ALPHA], -1).tobytes(),
        (8, 8),
        3,
        2,
        t338=2,
        t320=(0,) * 768,
    ),
}


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("kind", SEEN)
def test_what_is_transparent_is_white(tmp_path, kind, mode, recwarn):
    (tmp_path / "x").write_bytes(SEEN[kind])
    wanted = np.repeat(INKED[..., None], 3, -1) if mode == "RGB" else INKED
    np.testing.assert_array_equal(read(tmp_path / "x", mode), wanted)
    assert not recwarn.list


def test_what_is_half_transparent_is_half_white(tmp_path):
    alpha = np.array([[0, 51, 102, 255]], dtype=np.uint8)
    (tmp_path / "x").write_bytes(saved(with_alpha(100, alpha), "PNG"))
    assert read(tmp_path / "x").tolist() == [[255, 224, 193, 100]]


def test_a_bitmap_without_any_opacity_has_none_to_tell(tmp_path):
    """Many programs leave the fourth byte zero."""
    head = struct.pack("<IiiHHIIiiII", 108, 4, 2, 1, 32, 3, 32, 0, 0, 0, 0)
    masks = struct.pack("<IIII52x", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    for alpha, wanted in ((ALPHA * 0, INKED * 0 + 77), (ALPHA, np.where(GLYPH == 1, 77, 255))):
        pixels = with_alpha(77, alpha)[::-1].tobytes()
        start = struct.pack("<2sIII", b"BM", 14 + 108 + 32, 0, 14 + 108)
        (tmp_path / "x").write_bytes(start + head + masks + pixels)
        np.testing.assert_array_equal(read(tmp_path / "x"), wanted)


RED = {
    "CMYK TIFF": saved(Image.new("CMYK", SIZE, (0, 255, 255, 0)), "TIFF"),
    "CMYK JPEG": saved(Image.new("CMYK", SIZE, (0, 255, 255, 0)), "JPEG", quality=100),
    "16-bit CMYK TIFF": tiff(
        SIZE, np.tile(np.array([0, 65535, 65535, 0], "<u2"), 16).tobytes(), (16,) * 4, 5, 4
    ),
    "LAB TIFF": tiff(SIZE, bytes([138, 81, 70]) * 16, (8,) * 3, 8, 3),  # L* 54, a* 81, b* 70
    "YCbCr TIFF": tiff(SIZE, bytes([76, 85, 255]) * 16, (8,) * 3, 6, 3, t530=(1, 1)),
    "JPEG": saved(Image.new("RGB", SIZE, (255, 0, 0)), "JPEG", quality=100),
}


@pytest.mark.parametrize("kind", RED)
def test_red_is_red_in_every_space_of_colours(tmp_path, kind):
    (tmp_path / "x").write_bytes(RED[kind])
    assert abs(read(tmp_path / "x", "RGB").astype(int) - [255, 0, 0]).max() <= 5
    assert abs(read(tmp_path / "x").astype(int) - 76).max() <= 2  # .299 of 255


def frames(kind, **how):
    first, second = (Image.new("RGB", (4, 4), colour) for colour in ("red", "blue"))
    return saved(first, kind, save_all=True, append_images=[second], **how)


NONE, SEVERAL = "its values are signed or have 32 bits", "it holds several images"
CUT = {
    kind: saved(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8), kind)
    for kind in ("PNG", "JPEG", "BMP", "PPM", "TIFF", "WEBP", "GIF")
}
REFUSED = {
    "float TIFF": (saved(SHADES.astype(np.float32) / 255, "TIFF"), "its pixels are floats"),
    "PFM": (saved(SHADES.astype(np.float32) / 255, "PPM"), "its pixels are floats"),
    "32-bit TIFF": (saved(SHADES.astype(np.int32), "TIFF"), NONE),
    "signed TIFF": (tiff(SIZE, DEEP.tobytes(), 16, t339=2), NONE),
    "GIF of two": (frames("GIF"), SEVERAL),
    "PNG of two": (frames("PNG"), SEVERAL),
    "WebP of two": (frames("WEBP"), SEVERAL),
    "TIFF of two": (frames("TIFF"), SEVERAL),
    "nothing": (b"", "it is empty"),
    "text": (b"a letter", "it is not one of BMP"),
    **{f"half a {kind}": (raw[: len(raw) // 2], "") for kind, raw in CUT.items()},
}


@pytest.mark.fault(22)
@pytest.mark.parametrize("kind", REFUSED)
def test_what_does_not_say_how_it_looks_is_refused_by_its_name(tmp_path, kind):
    raw, why = REFUSED[kind]
    (tmp_path / "x.png").write_bytes(raw)
    with pytest.raises(BadInput, match=rf"x\.png: not a readable image \({why}.*; replace or rem"):
        read(tmp_path / "x.png", "RGB")


def test_a_preview_beside_a_picture_is_no_other_picture(tmp_path):
    """As cameras and maps have them in TIFF, and phones in JPEG."""
    small = Image.new("RGB", (2, 2), "blue")
    with_small = saved(COLOUR, "TIFF", save_all=True, append_images=[small])
    (tmp_path / "two").write_bytes(with_small)
    with pytest.raises(BadInput, match=SEVERAL):
        read(tmp_path / "two", "RGB")
    small.encoderinfo = {"tiffinfo": {254: 1}}
    (tmp_path / "x").write_bytes(saved(COLOUR, "TIFF", save_all=True, append_images=[small]))
    np.testing.assert_array_equal(read(tmp_path / "x", "RGB"), COLOUR)
    red = Image.new("RGB", (8, 8), "red")
    (tmp_path / "y").write_bytes(saved(red, "MPO", save_all=True, append_images=[small]))
    assert abs(read(tmp_path / "y", "RGB").astype(int) - [255, 0, 0]).max() <= 3


@pytest.mark.skipif("avif" not in features.get_supported(), reason="this Pillow has no AVIF")
def test_avif_is_read_where_pillow_can(tmp_path):
    flat = Image.new("RGB", (16, 8), (200, 100, 50))
    (tmp_path / "x").write_bytes(saved(flat, "AVIF", quality=100, exif=held(6)))
    pixels = read(tmp_path / "x", "RGB")
    assert pixels.shape == (16, 8, 3)
    assert abs(pixels.astype(int) - [200, 100, 50]).max() <= 3
