"""The right to write an output: checked and locked before any work starts."""

from __future__ import annotations

import os
import re
import socket
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from prunecli.errors import BadInput, BadOutput, BadUsage, printable
from prunecli.files.atomic import FOLDERS, FRESH, refusals, settle
from prunecli.files.reading import read_bytes

SOMEBODY = "another process"
IN_ITS_PLACE = "{}: the lock is a link, or not a regular file; remove it"
GLANCE = 0.2
"""Seconds that a lock is waited for, since `is_locked` holds it for as long as it looks."""


@contextmanager
def claimed(
    output: Path,
    inputs: Iterable[Path] = (),
    *,
    force: bool = False,
    wait: bool = False,
    in_stages: bool = False,
    beside: Mapping[Path, bool] | None = None,
) -> Iterator[Path]:
    """Hold the right to write `output`: checked and locked before any work starts.

    `beside` are files that are a part of the same output, each with whether it may be replaced.
    Yields the path to write to: the target, if `output` is a symlink. What a killed writer left is
    removed, or, `in_stages`, left for `stages.write_in_stages` to go on from. Raises BadUsage if it
    is one of the inputs, and BadOutput if it exists (without `force`), if its folder cannot be
    written, or if another process holds it (`wait` waits for that one instead). What another
    program makes of that name meanwhile is not replaced either, unless by `force`.
    """
    inputs, outputs = list(inputs), {output: force, **(beside or {})}

    def checked() -> list[Path]:
        return [check_output(path, inputs, force=may) for path, may in outputs.items()]

    targets, fresh = checked(), set[Path]()
    with ExitStack() as locks:
        for target, path in zip(targets, outputs, strict=True):
            locks.enter_context(locked(target, printable(str(path)), wait))
        settle(targets[0])
        checked()  # another process may just have written it
        for target, may in zip(targets, outputs.values(), strict=True):
            sweep(target, in_stages)
            fresh |= set() if may else {target}
        folders = {target.parent: target.parent.stat() for target in targets}
        FOLDERS.update({folder: (s.st_dev, s.st_ino) for folder, s in folders.items()})
        FRESH.update(fresh)
        try:
            yield targets[0]
        finally:
            FRESH.difference_update(fresh)
            for folder in folders:
                FOLDERS.pop(folder, None)


@contextmanager
def locked(target: Path, label: str, wait: bool = False) -> Iterator[None]:
    """Hold `target` against other processes. Raises BadOutput naming the one that holds it."""
    path = _lock_of(target)
    made = [folder for folder in target.parents if not folder.exists()]
    lock = FileLock(path, timeout=-1 if wait else GLANCE)
    with refusals(label):
        while not lock.is_locked:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not is_plain(path):
                raise BadOutput(IN_ITS_PLACE.format(printable(str(path))))
            try:
                lock.acquire()
            except Timeout:
                holder = _holder(path)
                raise BadOutput(
                    f"{label}: {holder} is writing it; wait for it, or use --wait"
                ) from None
            except FileNotFoundError:
                if path.parent.exists():
                    raise
                # The one that was waited for had made the folder, and left nothing in it.
    try:
        with refusals(label):
            _sign(path)
        yield
    finally:
        with suppress(OSError):
            path.unlink()
        lock.release()
        with suppress(OSError):  # a folder made for an output that never came is left by none
            for folder in made:
                folder.rmdir()


def is_locked(target: Path) -> bool:
    """Whether a process holds `target` right now."""
    path = _lock_of(target)
    if not os.path.lexists(path) or not is_plain(path):
        return False
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except (Timeout, OSError):
        return True
    lock.release()
    return False


def _lock_of(target: Path) -> Path:
    return target.with_name(f".{target.name}.lock")


def is_plain(path: Path) -> bool:
    """Whether nothing is there, or a file that has no other name and leads nowhere."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return True
    return _is_own(status)


def _is_own(status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 1


def _sign(lock: Path) -> None:
    """Say in a lock who holds it, unless a link has come into its place."""
    descriptor = os.open(lock, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "w") as file:
        if not _is_own(os.fstat(descriptor)):
            raise BadOutput(IN_ITS_PLACE.format(printable(str(lock))))
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")


def sweep(target: Path, in_stages: bool = False) -> None:
    """Remove what killed writers of `target`, and of no other file, left beside it."""
    part = r"(\d+|[0-9a-f]{8})\.part"
    kinds = part if in_stages else rf"{part}|begun|begun\.json"
    ours = re.compile(rf"\.{re.escape(target.name)}\.({kinds})")
    with suppress(OSError):
        for path in target.parent.iterdir():
            if ours.fullmatch(path.name):
                path.unlink()


def settle_before(output: Path) -> None:
    """Do `atomic.settle` for somebody who does not hold the output yet.

    Nothing is done where another process holds it.
    """
    target = Path(os.path.realpath(output))
    if target.parent.is_dir() and not is_locked(target):
        with suppress(OSError):
            settle(target)


def check_output(output: Path, inputs: Iterable[Path] = (), *, force: bool = False) -> Path:
    """The real path that `output` stands for, if it may be written; see `claimed`."""
    label, target = printable(str(output)), Path(os.path.realpath(output))
    if any(target == Path(os.path.realpath(path)) for path in inputs):
        raise BadUsage(f"{label}: the output is one of the inputs; give another with -o")
    with refusals(label):
        target.with_name(f".{target.name}.{'x' * 8}.part").exists()  # or its name is too long
        exists = target.exists()
        folder = next(parent for parent in target.parents if parent.exists())
    if target.is_dir():
        raise BadOutput(f"{label}: it is a directory; name a file with -o")
    if exists and not target.is_file():
        raise BadOutput(f"{label}: it is not a regular file; give another with -o")
    if exists and not force:
        raise BadOutput(f"{label}: it exists; overwrite it with --force or give another with -o")
    if not folder.is_dir():
        raise BadOutput(f"{label}: cannot be written: {printable(str(folder))} is not a directory")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise BadOutput(f"{label}: cannot be written: no permission for {printable(str(folder))}")
    return target


def _holder(lock_path: Path) -> str:
    with suppress(OSError, BadInput):
        return printable(read_bytes(lock_path, 1000).decode(errors="replace").strip()) or SOMEBODY
    return SOMEBODY
