"""Hashes of files. No torch is needed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import TypeVar

from prunecli.errors import BadInput
from prunecli.files.header import printable, reason

T = TypeVar("T")


def ahead(work: Callable[[], T]) -> Callable[[], T]:
    """Begin work on a thread, which ends with the process; gives what waits for its result."""
    result: Future[T] = Future()

    def run() -> None:
        try:
            result.set_result(work())
        except BaseException as error:  # whoever waits gets it
            result.set_exception(error)

    Thread(target=run, daemon=True).start()
    return result.result


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
