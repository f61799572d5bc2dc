"""Large files written in stages, so that an interrupted write can continue.

Beside the output lie `.NAME.begun`, which becomes it, and `.NAME.begun.json`, which says how much
of it is safely on the disk.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from torch import Tensor

from prunecli.errors import BadInput, printable
from prunecli.files.atomic import (
    MADE_ANEW,
    bytes_of,
    laid_out,
    refusals,
    size_of,
    sync_folder,
    take_name,
    write_text,
)
from prunecli.files.header import strict_json
from prunecli.files.parsing import Natural, Record, parsed, table
from prunecli.files.reading import read_bytes
from prunecli.tensors.parts import Made

STAGE = 1 << 30
"""The least number of bytes in a stage."""


@dataclass(frozen=True, kw_only=True)
class Note(Record):
    """What is safely on the disk."""

    key: str
    """The SHA-256 of the file's header."""
    bytes: Natural
    sha256: str
    """The hash of those bytes."""


def write_in_stages(
    path: Path, tensors: Mapping[str, Tensor | Made], metadata: Mapping[str, str]
) -> None:
    """Write as `atomic.write_tensors` does, continuing an earlier call that was interrupted.

    That call must have had the same metadata and tensors of the same names, types and shapes, so
    the metadata must state all that the values depend on. Only whole stages are kept; after an
    error, nothing. Raises BadOutput.
    """
    begun, note = (path.with_name(f".{path.name}.{end}") for end in ("begun", "begun.json"))
    head, order = laid_out(tensors, metadata)
    key = hashlib.sha256(head).hexdigest()
    with refusals(printable(str(path))), _left_if_stopped(begun, note):
        file, digest = _gone_on(begun, note, key) or (_anew(begun), Digest())
        with file:
            if not file.tell():
                digest.add(file, head)
            size, end = file.tell(), len(head)
            for name in order:
                end += size_of(tensors[name])
                if end <= size:
                    continue
                for chunk in bytes_of(tensors[name]):
                    digest.add(file, chunk)
                if file.tell() - size >= STAGE:
                    _sync(file)
                    size = file.tell()
                    said = Note(key=key, bytes=size, sha256=digest.so_far())
                    write_text(note, json.dumps(table(said)))
            _sync(file)
            take_name(begun, path, file)
        note.unlink(missing_ok=True)
        sync_folder(path.parent)


class Digest:
    """The hash of what is written, computed in a thread of its own."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self.thread = ThreadPoolExecutor(1)
        self.last: Future[None] | None = None

    def add(self, file: BinaryIO, chunk: bytes | memoryview) -> None:
        if self.last:
            self.last.result()
        self.last = self.thread.submit(self.digest.update, chunk)
        file.write(chunk)

    def so_far(self) -> str:
        if self.last:
            self.last.result()
        return self.digest.hexdigest()


def _anew(begun: Path) -> BinaryIO:
    begun.unlink(missing_ok=True)  # a link itself, not its target
    return os.fdopen(os.open(begun, MADE_ANEW, 0o666), "wb")


def _gone_on(begun: Path, note: Path, key: str) -> tuple[BinaryIO, Digest] | None:
    """The file to continue, open at the end of its stages; None if there is none.

    Its bytes must be those of the note, and it must have no other hard link. A note that does not
    match is removed.
    """
    with suppress(OSError, ValueError, BadInput):
        said = parsed(Note, strict_json(read_bytes(note, 10_000).decode()))
        if said.key == key:
            file = os.fdopen(os.open(begun, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC), "r+b")
            digest = Digest()
            if _is_whole(file, said, digest):
                return file, digest
            file.close()
    note.unlink(missing_ok=True)
    return None


def _is_whole(file: BinaryIO, said: Note, digest: Digest) -> bool:
    """Whether the file begins with the bytes of the note. Truncates it to them."""
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1 or status.st_size < said.bytes:
        return False
    file.truncate(said.bytes)
    while chunk := file.read(1 << 20):
        digest.digest.update(chunk)
    return digest.so_far() == said.sha256


@contextmanager
def _left_if_stopped(begun: Path, note: Path) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        if not (isinstance(error, KeyboardInterrupt | SystemExit) and note.exists()):
            note.unlink(missing_ok=True)
            begun.unlink(missing_ok=True)
        raise


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
