"""One image at a time: what it takes in memory, and what is no image."""

import hashlib
import io
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import EpsImagePlugin, Image

from prunecli.data import _pixels
from prunecli.data._pixels import FORMATS, fill, size_of
from prunecli.data._views import View
from prunecli.errors import BadInput
from prunecli.files.reading import Identity
from prunecli.types import Seen


def seen(path):
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return Seen(path, Identity.of(path.stat()), sha256)


def filled(path, shape, mode="RGB", size=None):
    row = torch.zeros(shape, dtype=torch.uint8)
    fill(seen(path), row, mode=mode, view=View(size) if size else None)
    return row


def test_every_format_is_read(tmp_path):
    suffixes = ("bmp", "gif", "jpeg", "jpg", "pgm", "png", "ppm", "tif", "tiff", "webp")
    for suffix in suffixes:
        path = tmp_path / f"x.{suffix}"
        Image.new("L", (5, 4), 200).save(path)
        assert size_of(path, Identity.of(path.stat()), "RGB") == (4, 5)
        assert (filled(path, (4, 5, 3)).int() - 200).abs().max() <= 1
        assert filled(path, (4, 5, 1), "L").shape == (4, 5, 1)


def test_a_format_is_known_by_the_content(tmp_path):
    Image.new("RGB", (5, 4), (9, 9, 9)).save(tmp_path / "x.png", "BMP")
    assert (filled(tmp_path / "x.png", (4, 5, 3)) == 9).all()


@pytest.mark.fault(33)
def test_no_program_is_run_for_an_image(tmp_path, monkeypatch):
    canary, path = tmp_path / "canary", tmp_path / "x.png"
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {canary}\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    Image.new("RGB", (8, 8)).save(path, "EPS")
    with pytest.raises(BadInput, match=r"x\.png: not a readable image \(it is not one of BMP, DIB"):
        size_of(path, Identity.of(path.stat()), "RGB")
    with pytest.raises(BadInput, match="it is not one of"):
        filled(path, (8, 8, 3), size=8)
    assert not canary.exists()
    with pytest.raises(OSError), Image.open(path) as image:  # Pillow left alone
        image.load()
    assert canary.exists()


def test_only_formats_without_programs_are_tried():
    assert not {"EPS", "WMF", "IPTC", "FPX", "MIC"} & set(FORMATS)


@pytest.mark.fault(22)
@pytest.mark.filterwarnings("ignore:::PIL")
def test_any_damage_is_the_images_fault(tmp_path):
    """Whatever Pillow makes of it, it is the image that is named."""
    draw, path = np.random.default_rng(0), tmp_path / "x.png"
    pixels = draw.integers(0, 256, (9, 9, 3), dtype=np.uint8)
    refused = 0
    for kind in ("PNG", "GIF", "TIFF", "BMP", "JPEG", "WEBP", "PPM"):
        whole = io.BytesIO()
        Image.fromarray(pixels).save(whole, kind)
        for _ in range(60):
            raw = bytearray(whole.getvalue())
            for at in draw.integers(0, min(len(raw), 80), 3):
                raw[at] = draw.integers(0, 256)
            path.write_bytes(raw)
            try:
                filled(path, (9, 9, 3), size=9)
            except BadInput as error:
                refused += 1
                assert str(error).startswith(str(path))
                assert str(error).isprintable()
    assert refused > 100


PEAK = """
import resource, sys
from pathlib import Path
from prunecli.data.folder import folder
from prunecli.errors import PruneError

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

before = peak()
for place, size in (("thin", 224), ("thin", None), ("many", None), ("odd", None),
                    ("deep", 64)):
    try:
        images = folder(Path(sys.argv[1]) / place, "train", size=size).images
        print(tuple(images.shape), peak() - before, sep="|")
    except PruneError as error:
        print(error, peak() - before, sep="|")
"""


@pytest.mark.fault(35)
def test_small_files_of_many_pixels_take_little_memory(tmp_path):
    def put(place, sides, count, mode="1"):
        folder = tmp_path / place / "train" / "a"
        folder.mkdir(parents=True, exist_ok=True)
        for _ in range(count):
            name = folder / f"{len(list(folder.iterdir()))}.png"
            Image.new(mode, sides).save(name, compress_level=1)

    put("thin", (1, 20_000), 1)
    put("many", (10_000, 9_000), 3)
    put("odd", (5, 5), 1)
    put("odd", (8_000, 8_000), 3)
    put("deep", (1_000, 1_000), 1, "I;16")
    put("deep", (1_000, 1_000), 1, "RGBA")
    put("deep", (10_000, 9_000), 1, "I;16")
    ran = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert ran.stderr == ""
    said, peaks = zip(*(line.split("|") for line in ran.stdout.splitlines()), strict=True)
    assert said[:2] == ("(1, 224, 224, 3)", "(1, 20000, 1, 3)")
    assert "0.png: not a readable image (it has over 89,478,485 pixels)" in said[2]
    assert "1.png: its size (8000, 8000) differs from that of the first image, (5, 5)" in said[3]
    assert "2.png: not a readable image (it has over 89,478,485 pixels)" in said[4]
    assert max(map(int, peaks)) < 100  # MB


def test_an_image_is_not_read_that_is_another_file_by_now(tmp_path):
    path = tmp_path / "x.png"
    Image.new("RGB", (4, 4)).save(path)
    row, file = torch.zeros(4, 4, 3, dtype=torch.uint8), seen(path)
    fill(file, row, mode="RGB", view=None)
    changed = rf"{Path(path).name}: it was changed or replaced"
    with pytest.raises(BadInput, match=changed):
        fill(file._replace(sha256="0" * 64), row, mode="RGB", view=None)
    path.write_bytes(path.read_bytes())
    with pytest.raises(BadInput, match=changed):
        fill(file, row, mode="RGB", view=None)


@pytest.mark.fault(35)
def test_so_many_pixels_are_decoded_at_a_time(tmp_path, monkeypatch):
    """For a moment each takes several times its pixels: on white, of 16 bits or turned, too."""
    Image.new("RGBA", (4, 4)).save(tmp_path / "x.png")
    file, busy, most = seen(tmp_path / "x.png"), [], []

    def slowly(image, mode):
        busy.append(mode)
        most.append(len(busy))
        time.sleep(0.02)
        busy.pop()
        return image.convert(mode)

    monkeypatch.setattr(_pixels, "decoded", slowly)
    for images in (1, 2):
        monkeypatch.setattr(_pixels, "_room", _pixels._Room(16 * images))
        most.clear()
        with ThreadPoolExecutor(4) as pool:
            each = [torch.zeros(4, 4, 3, dtype=torch.uint8) for _ in range(8)]
            list(pool.map(lambda row: fill(file, row, mode="RGB", view=None), each))
        assert len(most) == 8
        assert max(most) == images
