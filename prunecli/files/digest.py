"""Hashes of files. No torch is needed."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import TypeVar

from prunecli.files.reading import Identity, unchanged, unreadable

T = TypeVar("T")
TICK = 2_000_000_000
"""Nanoseconds: the coarsest clock of a file system that is in use."""


def ahead(work: Callable[[], T]) -> Callable[[], T]:
    """Begin work on a thread, which ends with the process; gives what waits for its result."""
    from concurrent.futures import Future  # which takes a while to import, and `--help` no thread

    result: Future[T] = Future()

    def run() -> None:
        try:
            result.set_result(work())
        except BaseException as error:  # whoever waits gets it
            result.set_exception(error)

    Thread(target=run, daemon=True).start()
    return result.result


class Hashes:
    """Hashes of contents, by what a file is: nothing is read twice while it stays as it is."""

    def __init__(self, known: dict[Identity, str] | None = None) -> None:
        self.known = {} if known is None else known

    def of(self, path: Path, identity: Identity | None = None) -> str:
        """The hash that `sha256sum` prints.

        Raises BadInput if the file cannot be read, if it changes meanwhile, or if it is not what it
        was when somebody saw that `identity`.
        """
        try:
            with unchanged(path, identity) as (file, own):
                if own not in self.known:
                    began = time.time_ns()
                    digest = hashlib.sha256()
                    while chunk := file.read(1 << 20):
                        digest.update(chunk)
                    if not is_settled(own, began):
                        return digest.hexdigest()
                    self.known[own] = digest.hexdigest()
                return self.known[own]
        except OSError as error:
            raise unreadable(path, error) from None


def is_settled(identity: Identity, at: int) -> bool:
    """Whether a file was left alone for a while at that time, in nanoseconds.

    Clocks of file systems tick slowly: one that was just written may be written once more within
    the same tick, and look the same. The time of a file may be anything, also one to come.
    """
    return max(identity.mtime_ns, identity.ctime_ns) < at - TICK


HASHES = Hashes()
"""The hashes that this process has taken."""


def file_sha256(path: Path, identity: Identity | None = None) -> str:
    """The hash that `sha256sum` prints; see `Hashes.of`."""
    return HASHES.of(path, identity)
