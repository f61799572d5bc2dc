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
"""Seconds to wait for a lock: `is_locked` holds it while it checks."""


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
    """Check `output` and lock it, before any work starts.

    `beside` maps other files of the same output to whether they may be replaced. Yields the path to
    write to: the target, if `output` is a symlink. Removes what a killed writer left; `in_stages`
    keeps what `stages.write_in_stages` can continue from. A file that another program creates in
    the meantime is replaced only with `force`.

    Raises BadUsage if it is one of the inputs, and BadOutput if it exists (without `force`), if its
    folder cannot be written, or if another process holds it (with `wait`, waits instead).
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
    """Lock `target` against other processes. Raises BadOutput naming the one that holds it."""
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
                # The earlier holder had created the folder, and removed it again.
    try:
        with refusals(label):
            _sign(path)
        yield
    finally:
        with suppress(OSError):
            path.unlink()
        lock.release()
        with suppress(OSError):  # folders created for an output that was never written
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
    """Whether nothing is there, or a regular file with no other hard link."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return True
    return _is_own(status)


def _is_own(status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 1


def _sign(lock: Path) -> None:
    """Write this process and host into the lock. Raises BadOutput if it is a link."""
    descriptor = os.open(lock, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "w") as file:
        if not _is_own(os.fstat(descriptor)):
            raise BadOutput(IN_ITS_PLACE.format(printable(str(lock))))
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")


def sweep(target: Path, in_stages: bool = False) -> None:
    """Remove the temporary files of killed writers of `target`, not of other files."""
    part = r"(\d+|[0-9a-f]{8})\.part"
    kinds = part if in_stages else rf"{part}|begun|begun\.json"
    ours = re.compile(rf"\.{re.escape(target.name)}\.({kinds})")
    with suppress(OSError):
        for path in target.parent.iterdir():
            if ours.fullmatch(path.name):
                path.unlink()


def settle_before(output: Path) -> None:
    """Call `atomic.settle` before the output is claimed, unless another process holds it."""
    target = Path(os.path.realpath(output))
    if target.parent.is_dir() and not is_locked(target):
        with suppress(OSError):
            settle(target)


def check_output(output: Path, inputs: Iterable[Path] = (), *, force: bool = False) -> Path:
    """The real path of `output`. Raises as `claimed` does if it may not be written."""
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
