"""The kind of a file that is not safetensors, by its first bytes, and how to convert it."""

from __future__ import annotations

import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE, getincrementaldecoder
from typing import NamedTuple

LOOKED_AT = 512
"""Bytes that are enough to tell."""
MIN_TEXT = 8
"""Characters of a longer file; fewer may be the length of a header."""
ENTRY = re.compile(rb"(?s)PK\x03\x04.{22}(..)..(.*)")
"""The first file in a zip: the length of its name, and what begins with that name."""
HTML = re.compile(rb"(?i)<(!doctype html|html|head|body|!--)")
ONNX = re.compile(rb"(?s)\x08[\x01-\x14][\x12\x1a\x22\x2a\x3a\x42]")
"""An IR version, and another field of its model."""
PICKLE_0 = re.compile(
    rb"\(?[dlc](p\d+\n|collections\n|numpy|torch|__builtin__|builtins)|\(dp?\d+\n"
)

PICKLE_HELP = (
    "it is a pickle, which can run code when read; convert it once with "
    '`python -c "import sys, torch, safetensors.torch as s; '
    "f = lambda d: d.state_dict() if hasattr(d, 'state_dict') else d; "
    "g = lambda d: next((f(d[k]) for k in ('state_dict', 'model_state_dict', 'model', 'module') "
    "if k in d), d); "
    "t = {k: v.clone().contiguous() for p in sys.argv[2:] for k, v in "
    "g(f(torch.load(p, 'cpu', weights_only=True))).items() if torch.is_tensor(v)}; "
    's.save_file(t, sys.argv[1])" OUT.safetensors IN.pt` (or IN1.bin IN2.bin, all shards of it). '
    "What torch refuses so holds more than tensors: weights_only=False runs what is in it"
)
"""The advice for a pickle: of a state_dict, or one in a table of a training's, tied and transposed
tensors included."""
NUMPY = (
    'convert it once with `python -c "import numpy, safetensors.numpy as s; '
    "s.save_file({}, 'OUT.safetensors')\"`"
)
HDF5 = (
    "it is an HDF5 file (Keras); save the weights of the PyTorch network with "
    "safetensors.torch.save_file"
)
TORCHSCRIPT = (
    "it is a TorchScript module, which is code; write its weights with "
    "safetensors.torch.save_file(torch.jit.load('IN.pt').state_dict(), 'OUT.safetensors')"
)
UNPACK = "unpack it and give the safetensors file in it"
OTHER = "prunecli reads safetensors; export the weights of the PyTorch network to it"


class Kind(NamedTuple):
    """A kind of file: how it begins, `at` bytes from its start; what it is; the advice."""

    magic: bytes
    help: str
    at: int = 0


KINDS = [
    Kind(b"version https://git-lfs", "it is a git-lfs pointer; fetch the file with `git lfs pull`"),
    Kind(b"\x93NUMPY", "it is a NumPy array; " + NUMPY.format("{'NAME': numpy.load('IN.npy')}")),
    Kind(b"\x89HDF\r\n\x1a\n", HDF5),
    Kind(b"GGUF", f"it is a GGUF file; {OTHER}"),
    Kind(b"ggjt", f"it is a GGML file; {OTHER}"),
    Kind(b"TFL3", f"it is a TensorFlow Lite file; {OTHER}", 4),
    Kind(b"\x1f\x8b", f"it is compressed with gzip; {UNPACK}"),
    Kind(b"\xfd7zXZ\0", f"it is compressed with xz; {UNPACK}"),
    Kind(b"\x28\xb5\x2f\xfd", f"it is compressed with zstd; {UNPACK}"),
    Kind(b"BZh", f"it is compressed with bzip2; {UNPACK}"),
    Kind(b"7z\xbc\xaf\x27\x1c", f"it is a 7-Zip archive; {UNPACK}"),
    Kind(b"ustar", f"it is a tar archive; {UNPACK}", 257),
    Kind(b"Rar!", f"it is a RAR archive; {UNPACK}"),
    Kind(b"SQLite format 3", f"it is a SQLite database; {OTHER}"),
    Kind(b"\x89PNG\r\n", "it is an image, not a checkpoint"),
    Kind(b"\xff\xd8\xff", "it is an image, not a checkpoint"),
    Kind(b"%PDF", "it is a PDF, not a checkpoint"),
    Kind(b"\x7fELF", "it is a program, not a checkpoint"),
]
"""Kinds of files, in the order of how sure they are. Patterns and text, below, are asked after
these."""


def other_format(head: bytes) -> str | None:
    """The kind of a file that begins with these bytes, and the advice; None if perhaps safetensors.

    The ninth byte of a safetensors file is a '{'.
    """
    if head[8:9] == b"{" and not text_of(head):
        return None
    for kind in KINDS:
        if head.startswith(kind.magic, kind.at):
            return kind.help
    return next((found for look in (_zip, _pickle, _onnx, _text) if (found := look(head))), None)


def _zip(head: bytes) -> str | None:
    """The kind of a zip file, and the advice; None if the bytes do not begin one.

    torch.save writes a zip whose files all lie in one folder; numpy.savez one of arrays.
    """
    if not (found := ENTRY.match(head)):
        return None
    name = found[2][: int.from_bytes(found[1], "little")]
    if name.endswith(b".npy"):
        load = "{**numpy.load('IN.npz')}"
        return "it is an archive of NumPy arrays (.npz); " + NUMPY.format(load)
    if name.endswith((b"/data.pkl", b"/.format_version", b"/byteorder", b"/version")):
        return PICKLE_HELP
    if b"/code/" in name or name.endswith(b"/data/0"):
        return TORCHSCRIPT
    if b".keras" in head or name == b"metadata.json":
        return HDF5.replace("an HDF5", "a Keras")
    return f"it is a zip archive; {UNPACK}"


def _pickle(head: bytes) -> str | None:
    return PICKLE_HELP if re.match(rb"\x80[\x02-\x05]", head) or PICKLE_0.match(head) else None


def _onnx(head: bytes) -> str | None:
    return f"it is an ONNX file; {OTHER}" if ONNX.match(head) else None


def _text(head: bytes) -> str | None:
    if not (text := text_of(head).strip()):
        return None
    page = "download the file itself"
    if HTML.match(text.encode()):
        return f"it is an HTML page; {page}"
    if text.startswith("<"):
        return f"it is XML, such as the error of a server; {page}"
    if _is_json(head):
        return "it is JSON; give a safetensors file, or the folder with its index"
    first = text.partition("\n")[0]
    return f"it is text that begins with {first[:40]!r}; give a safetensors file"


def _is_json(head: bytes) -> bool:
    return bool(re.match(r'\s*(\{\s*["}]|\[\s*["\[{\d\]-])', text_of(head)))


def text_of(head: bytes) -> str:
    """The text that a file begins with; none if it is not text in UTF-8 or UTF-16."""
    encoding = "utf-16" if head.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "utf-8-sig"
    try:
        text = getincrementaldecoder(encoding)().decode(head)  # the last character may be cut off
    except UnicodeDecodeError:
        return ""
    plain = all(c.isprintable() or c in "\t\r\n\f" for c in text)
    marked = head.startswith((BOM_UTF8, BOM_UTF16_LE, BOM_UTF16_BE))
    return text if plain and (marked or len(text) >= MIN_TEXT or len(head) < 8) else ""
