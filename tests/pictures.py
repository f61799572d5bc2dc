"""Pictures for tests: some of their kinds Pillow reads and does not write; made by hand."""

import hashlib
import io
import struct
import zlib

import numpy as np
import torch
from PIL import Image

from prunecli.data._pixels import fill, size_of
from prunecli.files.reading import Identity
from prunecli.types import Seen

GREY, RGB, PALETTE = 0, 2, 3
SIZE = (8, 2)
SHADES = np.arange(0, 256, 17, dtype=np.uint8).reshape(2, 8)
DEEP = SHADES.astype(np.uint16) * 257
GLYPH = np.array([[0, 1, 1, 0], [1, 0, 0, 1]], dtype=np.uint8)  # 1 = ink
INKED = np.where(GLYPH == 1, 0, 255).astype(np.uint8)  # black on white
COLOUR = np.stack([SHADES, SHADES[::-1], 255 - SHADES], -1)


def read(path, mode="L"):
    """Its pixels as [H, W] or [H, W, 3]."""
    identity = Identity.of(path.stat())
    height, width = size_of(path, identity, mode)
    row = torch.zeros(height, width, 3 if mode == "RGB" else 1, dtype=torch.uint8)
    file = Seen(path, identity, hashlib.sha256(path.read_bytes()).hexdigest())
    fill(file, row, mode=mode, view=None)
    return row.numpy() if mode == "RGB" else row.numpy()[:, :, 0]


def saved(image, kind, **how):
    """The bytes of an array or an image."""
    file = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(file, kind, **how)
    return file.getvalue()


def packed(values, bits):
    """Rows of samples of fewer than 8 bits, or 12."""
    each = np.unpackbits(values.astype(">u2").view(np.uint8).reshape(*values.shape, 2), axis=-1)
    return np.packbits(each[..., 16 - bits :].reshape(len(values), -1), axis=-1)


def rows(values):
    return [row.tobytes() for row in values]


def png(depth, colour, size, rows, **chunks):
    """Of rows of packed samples; more chunks go before the pixels, in the order given."""
    head = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows))
    parts = [("IHDR", head), *chunks.items(), ("IDAT", pixels), ("IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name.encode(), data) for name, data in parts)


def _chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def tiff(size, pixels, bits, photometric=1, samples=1, order="<", **more):
    """One strip, uncompressed; `more` are tags by number, as `t338=1`."""
    tags = {256: size[0], 257: size[1], 258: bits, 259: 1, 262: photometric, 273: 8}
    tags |= {277: samples, 278: size[1], 279: len(pixels)}
    tags |= {int(name[1:]): value for name, value in more.items()}
    pixels += b"\0" * (len(pixels) % 2)
    far, table = b"", struct.pack(f"{order}H", len(tags))
    start = 8 + len(pixels) + 2 + 12 * len(tags) + 4
    for tag, value in sorted(tags.items()):
        values = value if isinstance(value, tuple) else (value,)
        data = struct.pack(f"{order}{len(values)}H", *values)
        table += struct.pack(f"{order}HHI", tag, 3, len(values))
        if len(data) > 4:
            table += struct.pack(f"{order}I", start + len(far))
            far += data
        else:
            table += data.ljust(4, b"\0")
    magic = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8 + len(pixels))
    return magic + pixels + table + b"\0\0\0\0" + far


def held(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif
