"""Hashes of files. No torch is needed."""

from __future__ import annotations

import hashlib
from pathlib import Path

from prunecli.errors import BadInput
from prunecli.files.header import printable, reason


def file_sha256(path: Path) -> str:
    """The hash that `sha256sum` prints. Raises BadInput if the file cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    except OSError as error:
        raise BadInput(f"{printable(str(path))}: cannot be read: {reason(error)}") from None
    return digest.hexdigest()
