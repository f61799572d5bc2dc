"""Reading of regular files only, up to the size that such a file can have.

A named pipe would be waited for, a device never ends. A file is known by what it is, its device,
inode, size and times, and not by its name, which may come to stand for another one.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO, NamedTuple

from prunecli.errors import BadInput, printable, reason
from prunecli.runtime.shortage import raise_shortage

KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_FIELDS = attrgetter("st_dev", "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns")
HUB = re.compile(r"[\w.-]+/(?![\w.-]*\.(safetensors|json|ya?ml|csv|pt|pth|bin|ckpt|npz)$)[\w.-]+")
CHANGED = "{}: it was changed or replaced while in use; try again"


class Identity(NamedTuple):
    """What a file is. Whoever writes into it, or puts another in its place, changes this."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Identity:
        return tuple.__new__(cls, _FIELDS(status))


def unreadable(path: Path, error: Exception) -> BadInput:
    """What to raise where the system does not let a file be read."""
    raise_shortage(error)
    if isinstance(error, FileNotFoundError) and not os.path.lexists(path):
        return BadInput(f"{printable(str(path))}: there is no such file{_elsewhere(str(path))}")
    return BadInput(f"{printable(str(path))}: cannot be read: {reason(error)}")


def _elsewhere(name: str) -> str:
    """The advice for a URL, standard input or a model's name in place of a file."""
    if name == "-":
        return "; standard input is not read: give a file"
    if re.match(r"\w{2,}:/", name):  # the second slash is gone from what was made a path
        return "; nothing is downloaded: download it first and give the file"
    if HUB.fullmatch(name) and not Path(name).parent.exists():
        return f"; if it is a model of the Hugging Face hub, fetch it with `hf download {name}`"
    return ""


@contextmanager
def opened(path: Path, buffering: int = -1) -> Iterator[BinaryIO]:
    """A regular file, to be read. Raises BadInput for a pipe or a device, else OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # waits for no writer
    try:
        kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
        if kind == stat.S_IFDIR:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if kind != stat.S_IFREG:
            what = KINDS.get(kind, "of another kind")
            raise BadInput(f"{printable(str(path))}: it is {what}; give a regular file")
        file = os.fdopen(descriptor, "rb", buffering)
    except BaseException:
        os.close(descriptor)
        raise
    with file:
        yield file


@contextmanager
def unchanged(path: Path, identity: Identity | None = None) -> Iterator[tuple[BinaryIO, Identity]]:
    """A regular file, unbuffered, which must not change meanwhile, nor since it was `identity`.

    Raises BadInput if it does, or OSError.
    """
    with opened(path, buffering=0) as file:
        own = Identity.of(os.fstat(file.fileno()))
        if own != (identity or own):
            raise BadInput(CHANGED.format(printable(str(path))))
        yield file, own
        if Identity.of(os.fstat(file.fileno())) != own:
            raise BadInput(CHANGED.format(printable(str(path))))


def read_bytes(path: Path, most: int) -> bytes:
    """All of a regular file of at most so many bytes. Raises BadInput, or OSError."""
    with opened(path) as file:
        raw = file.read(most + 1)
    if len(raw) > most:
        raise BadInput(f"{printable(str(path))}: it is over {most:,} bytes, which is too large")
    return raw


def chunks(path: Path, size: int = 1 << 24) -> Iterator[bytes]:
    """The bytes of a regular file that does not change meanwhile. Raises BadInput."""
    try:
        with unchanged(path) as (file, _):
            while chunk := file.read(size):
                yield chunk
    except OSError as error:
        raise unreadable(path, error) from None
