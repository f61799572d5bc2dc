"""Large files that take long to make: a writer that was stopped is gone on from.

Beside the output lies `.NAME.begun`, which becomes it, and `.NAME.begun.json`, which says how much
of that is on the disk for sure.
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
"""Bytes, at least, from one stage to the next."""


@dataclass(frozen=True, kw_only=True)
class Note(Record):
    """What is on the disk for sure."""

    key: str
    """The hash of the header of what is written."""
    bytes: Natural
    sha256: str
    """The hash of those bytes."""


def write_in_stages(
    path: Path, tensors: Mapping[str, Tensor | Made], metadata: Mapping[str, str]
) -> None:
    """Write as `atomic.write_tensors`, but keep what an earlier call wrote before it was stopped.

    That call must have had tensors of the same names and shapes and the same metadata, which must
    say all that the values depend on. What is less than a stage is not kept, nor is anything where
    the writing failed. Raises BadOutput.
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
    """The hash of what is written, found on a thread beside the writing."""

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
    begun.unlink(missing_ok=True)  # what lies there, and not what it may lead to
    return os.fdopen(os.open(begun, MADE_ANEW, 0o666), "wb")


def _gone_on(begun: Path, note: Path, key: str) -> tuple[BinaryIO, Digest] | None:
    """The file, open behind what is there to go on from; None if there is nothing.

    A note of something else is removed. What it speaks of must be there to the bit, in a file of
    no other name.
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
    """Whether the bytes are those that the note speaks of; the rest is cut off."""
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
