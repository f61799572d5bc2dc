"""Text files from users: regular files of limited size, in UTF-8."""

from __future__ import annotations

from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from pathlib import Path

from prunecli.errors import BadInput, printable
from prunecli.files.reading import read_bytes, unreadable

MOST = 100_000_000
"""Bytes of a result or of a table: a hundred times what the longest training leaves."""


def read_text(path: Path, most: int = MOST) -> str:
    """The text, with its own ends of lines. Raises BadInput where there is none."""
    try:
        return decoded(read_bytes(path, most))
    except OSError as error:
        raise unreadable(path, error) from None
    except ValueError as error:
        raise BadInput(f"{printable(str(path))}: {error}") from None


def decoded(raw: bytes) -> str:
    """Text in UTF-8, without the mark that some editors put before it.

    Raises ValueError saying what it is if it is none.
    """
    check_text(raw)
    try:
        return raw.removeprefix(BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 at byte {error.start}") from None


def check_text(raw: bytes) -> None:
    """Raise ValueError saying what it is if the beginning is not that of text in UTF-8."""
    if raw.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        raise ValueError("it is text in UTF-16; save it as UTF-8")
    if raw[8:9] == b"{" and raw[4:8] == bytes(4):  # a header of less than 4 GB
        raise ValueError("it is a safetensors file, not text; are two arguments swapped?")
