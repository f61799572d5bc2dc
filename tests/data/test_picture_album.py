"""A picture of every depth and every side up, made here, and the pixels that are due."""

import io
import os

import numpy as np
import pytest
import torch
from pictures import (
    COLOUR,
    DEEP,
    GLYPH,
    GREY,
    INKED,
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
from PIL import Image

from prunecli.data import _trees
from prunecli.data._pixels import fill
from prunecli.data.folder import folder
from prunecli.errors import BadInput
from prunecli.images.source import fingerprint


def scaled(values, most):
    return (values.astype(np.uint32) * most + 127) // 255


def plain_pgm(most):
    return f"P2 8 2 {most}\n{' '.join(map(str, scaled(SHADES, most).ravel()))}".encode()


def raw_pgm(most, form=">u2"):
    return b"P5 8 2 %d\n" % most + scaled(SHADES, most).astype(form).tobytes()


def ppm(most):
    values = np.repeat(scaled(SHADES, most)[..., None], 3, -1)
    return b"P6 8 2 %d\n" % most + values.astype(">u2").tobytes()


ALIKE = {
    "8-bit PNG": saved(SHADES, "PNG"),
    "4-bit PNG": png(4, GREY, SIZE, rows(packed(SHADES // 17, 4))),
    "16-bit PNG": saved(DEEP, "PNG"),
    "16-bit RGB PNG": png(16, RGB, SIZE, rows(np.repeat(DEEP, 3, 1).astype(">u2"))),
    "RGB PNG": saved(np.repeat(SHADES[..., None], 3, -1), "PNG"),
    "PNG of a palette": saved(Image.fromarray(SHADES).convert("P"), "PNG"),
    "GIF": saved(SHADES, "GIF"),
    "BMP": saved(SHADES, "BMP"),
    "lossless WebP": saved(Image.fromarray(SHADES).convert("RGB"), "WEBP", lossless=True),
    "8-bit TIFF": saved(SHADES, "TIFF"),
    "8-bit TIFF, white is zero": tiff(SIZE, (255 - SHADES).tobytes(), 8, 0),
    "12-bit TIFF": tiff(SIZE, packed(scaled(SHADES, 4095), 12).tobytes(), 12),
    "16-bit TIFF": saved(DEEP, "TIFF"),
    "16-bit TIFF, packed": saved(DEEP, "TIFF", compression="tiff_lzw"),
    "16-bit TIFF, big end first": tiff(SIZE, DEEP.astype(">u2").tobytes(), 16, order=">"),
    "16-bit TIFF, white is zero": tiff(SIZE, (65535 - DEEP).tobytes(), 16, 0),
    "16-bit RGB TIFF": tiff(SIZE, np.repeat(DEEP, 3, 1).tobytes(), (16, 16, 16), 2, 3),
    "PGM of 15": raw_pgm(15, "u1"),
    "PGM of 255": raw_pgm(255, "u1"),
    "PGM of 1023": raw_pgm(1023),
    "PGM of 4095": raw_pgm(4095),
    "PGM of 65535": raw_pgm(65535),
    "plain PGM of 1023": plain_pgm(1023),
    "plain PGM of 255": plain_pgm(255),
    "PPM of 65535": ppm(65535),
    "PPM of 1023": ppm(1023),
}


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("kind", ALIKE)
def test_the_same_shades_look_the_same_in_every_depth(tmp_path, kind, mode):
    path = tmp_path / "x"
    path.write_bytes(ALIKE[kind])
    wanted = np.repeat(SHADES[..., None], 3, -1) if mode == "RGB" else SHADES
    np.testing.assert_array_equal(read(path, mode), wanted)


BITS = {
    "PNG": saved(Image.fromarray(INKED).convert("1"), "PNG"),
    "PBM": saved(Image.fromarray(INKED).convert("1"), "PPM"),
    "plain PBM": b"P1 4 2 " + " ".join(map(str, GLYPH.ravel())).encode(),
    "TIFF": saved(Image.fromarray(INKED).convert("1"), "TIFF"),
    "TIFF, white is zero": tiff((4, 2), packed(GLYPH, 1).tobytes(), 1, 0),
}


@pytest.mark.parametrize("kind", BITS)
def test_one_bit_is_black_or_white(tmp_path, kind):
    (tmp_path / "x").write_bytes(BITS[kind])
    np.testing.assert_array_equal(read(tmp_path / "x"), INKED)


def test_shades_between_are_rounded(tmp_path):
    values = np.array([[0, 128, 129, 385, 386, 32767, 65406, 65407]], dtype=np.uint16)
    (tmp_path / "x").write_bytes(saved(values, "PNG"))
    assert read(tmp_path / "x").tolist() == [[0, 0, 1, 1, 2, 127, 254, 255]]


TURNED = {  # how the sensor has it, by what its EXIF says; `a` is how it is seen
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[::-1],
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: a.swapaxes(0, 1)[:, ::-1],
}


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
    ],
)
def test_a_picture_is_upright(tmp_path, kind, how, orientation):
    sensed = np.ascontiguousarray(TURNED[orientation](COLOUR))
    (tmp_path / "x").write_bytes(saved(sensed, kind, exif=held(orientation), **how))
    np.testing.assert_array_equal(read(tmp_path / "x", "RGB"), COLOUR)


@pytest.mark.parametrize("orientation", TURNED)
def test_a_photo_is_upright(tmp_path, orientation):
    noise = np.random.default_rng(0).integers(0, 256, (16, 48, 3), dtype=np.uint8)
    sensed = np.ascontiguousarray(TURNED[orientation](noise))
    (tmp_path / "x").write_bytes(saved(sensed, "JPEG", exif=held(orientation)))
    with Image.open(io.BytesIO(saved(sensed, "JPEG"))) as image:
        pixels = np.asarray(image)
    np.testing.assert_array_equal(TURNED[orientation](read(tmp_path / "x", "RGB")), pixels)


@pytest.mark.parametrize("exif", [b"Exif\0\0none", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"x"])
def test_exif_that_cannot_be_read_says_nothing(tmp_path, exif, recwarn):
    (tmp_path / "x").write_bytes(saved(COLOUR, "PNG", exif=exif))
    np.testing.assert_array_equal(read(tmp_path / "x", "RGB"), COLOUR)


def test_photos_of_both_ways_to_be_held_are_of_one_size(tmp_path):
    place = tmp_path / "train" / "a"
    place.mkdir(parents=True)
    for number, orientation in enumerate((1, 6, 8, 3)):
        sensed = np.ascontiguousarray(TURNED[orientation](COLOUR))
        (place / f"{number}.png").write_bytes(saved(sensed, "PNG", exif=held(orientation)))
    images = folder(tmp_path, "train").images
    assert images.shape == (4, *COLOUR.shape)
    assert (images == torch.from_numpy(COLOUR)).all()
    Image.fromarray(np.ascontiguousarray(TURNED[6](COLOUR))).save(place / "4.png")
    with pytest.raises(BadInput, match=r"4\.png: its size \(8, 2\) differs from that of the first"):
        folder(tmp_path, "train")


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "PPM", "TIFF", "WEBP", "GIF"])
@pytest.mark.parametrize("form", ["L", "RGB", "P"])
def test_what_says_nothing_unusual_is_what_pillow_converts_it_to(tmp_path, kind, mode, form):
    if form == "P" and kind in ("JPEG", "PPM", "WEBP"):
        return
    noise = np.random.default_rng(0).integers(0, 256, (24, 33, 3), dtype=np.uint8)
    (tmp_path / "x").write_bytes(saved(Image.fromarray(noise).convert(form), kind))
    with Image.open(tmp_path / "x") as image:
        wanted = np.asarray(image.convert(mode))
    np.testing.assert_array_equal(read(tmp_path / "x", mode), wanted)


def tree_of(root, kind, images):
    place = root / "train" / "a"
    place.mkdir(parents=True)
    for number, image in enumerate(images):
        Image.fromarray(image).save(place / f"{number:03}.{kind}")
    return root


def test_digits_of_8_and_of_16_bits_are_the_same(tmp_path):
    from prunecli.data.digits import digits

    images = digits(tmp_path, "test").images[:64, :, :, 0].numpy()
    one = folder(tree_of(tmp_path / "one", "png", images), "train", grey=True).images
    for kind in ("png", "tif", "pgm"):
        two = tree_of(tmp_path / kind, kind, images.astype(np.uint16) * 257)
        assert torch.equal(folder(two, "train", grey=True).images, one)
        assert torch.equal(
            folder(two, "train", grey=True, size=16).images[..., 0],
            folder(tmp_path / "one", "train", grey=True, size=16).images[..., 0],
        )


def test_what_an_earlier_decoder_made_is_not_taken(tmp_path, monkeypatch):
    monkeypatch.setenv("PRUNECLI_CACHE", os.fspath(tmp_path / "cache"))
    tree_of(tmp_path, "png", [SHADES])
    made = []
    monkeypatch.setattr(_trees, "fill", lambda *given, **how: made.append(fill(*given, **how)))
    seen = [fingerprint(folder(tmp_path, "train", stream=True))]
    for _ in range(2):
        folder(tmp_path, "train")
    assert len(made) == 1
    monkeypatch.setattr(_trees, "DECODER", 0)
    folder(tmp_path, "train")
    assert len(made) == 2
    assert fingerprint(folder(tmp_path, "train", stream=True)) not in seen
