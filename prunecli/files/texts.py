"""Files of text that somebody gives: regular ones, of a size that such files have, in UTF-8."""

from __future__ import annotations

from pathlib import Path

from prunecli.errors import BadInput, printable
from prunecli.files.reading import read_bytes, unreadable

MOST = 100_000_000
"""Bytes of a result or of a table: a hundred times what the longest training leaves."""


def read_text(path: Path, most: int = MOST, encoding: str = "utf-8") -> str:
    """The text, with its own ends of lines. Raises BadInput where there is none."""
    try:
        return read_bytes(path, most).decode(encoding)
    except OSError as error:
        raise unreadable(path, error) from None
    except UnicodeDecodeError as error:
        label = printable(str(path))
        raise BadInput(f"{label}: it is not UTF-8 at byte {error.start}") from None
