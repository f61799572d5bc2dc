"""Every failure that prunecli foresees, with the exit code it ends in.

    PruneError               1   a bug, if nothing below fits
    ├── BadUsage             2   the command line or the recipe is wrong
    ├── BadInput             3   a file cannot be read, or is not what it should be
    ├── Mismatch             4   the inputs do not belong together
    ├── BadOutput            5   the output exists, is locked or cannot be written
    ├── BadEnvironment       6   device, data set or optional package missing
    ├── NotFinite            7   NaN or infinity in weights, scores or loss
    └── JobsFailed           8   some jobs of a recipe failed

The message is one line: what, where, and the mend. Only `prunecli.cli` turns these into exit codes.
"""

from __future__ import annotations

import errno
import os
import re
from difflib import get_close_matches

MANY = 30
"""Names that are too many to be listed in a message."""


class PruneError(Exception):
    exit_code = 1


class BadUsage(PruneError):
    exit_code = 2


class BadInput(PruneError):
    exit_code = 3


class Mismatch(PruneError):
    exit_code = 4


class BadOutput(PruneError):
    exit_code = 5


class BadEnvironment(PruneError):
    exit_code = 6


class _Shortage(BadEnvironment):
    """The machine lacks memory, or the process may open no more files: no input's fault."""


class NotFinite(PruneError):
    exit_code = 7


class JobsFailed(PruneError):
    exit_code = 8


def printable(text: str) -> str:
    """The text with control characters and the like escaped: safe on any terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def reason(error: Exception) -> str:
    """What the system says is wrong with a path, without the path."""
    if isinstance(error, FileExistsError) and error.filename:  # of a folder that was to be made
        there = os.path.lexists(error.filename) and not os.path.exists(error.filename)  # noqa: PTH110
        what = "a link that leads nowhere" if there else "no folder"
        return f"{printable(os.fsdecode(error.filename))} is {what}"
    return getattr(error, "strerror", None) or str(error)


def some(names: list[str], most: int = 3) -> str:
    """The first few names, and how many more there are: 'a, b, c and 4 more'."""
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def suggest(word: str, known: list[str]) -> str:
    """'; did you mean "x"?', or what there is to choose from, if that is not long."""
    near = get_close_matches(word, known, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    if len(known) > MANY:
        return ""
    return f"; there are {', '.join(known)}" if known else "; there are none"


SCARCE = {errno.ENOMEM, errno.EMFILE, errno.ENFILE}
NO_MEMORY = re.compile(
    r"can.?t allocate memory|cannot allocate memory|not enough memory|out of memory|bad_alloc"
    r"|unable to allocate|can.?t start new thread|failed to map segment"
    r"|could not (create a primitive|create a memory|initialize a memory)",
    re.IGNORECASE,
)
"""What torch, oneDNN, numpy, the loader of libraries and the system say, each in its own way."""
WANTED = re.compile(r"(?:allocate|mmap)\s+([\d.]+\s?(?:bytes|[KMGT]i?B))", re.IGNORECASE)


def raise_shortage(error: BaseException) -> None:
    """Raise BadEnvironment if `error` came up for lack of memory or of open files.

    Whoever takes an error of other people's code for a fault of its input asks here first.
    """
    seen: BaseException | None = error
    for _ in range(10):  # a library may have said something else about it
        if seen is None:
            return
        if isinstance(seen, _Shortage):
            raise seen
        if found := _shortage(seen):
            raise _Shortage(found) from error
        seen = seen.__cause__ or seen.__context__


def _shortage(error: BaseException) -> str | None:
    """What there is too little of, and the mend; None for any other error."""
    number, text = getattr(error, "errno", None), str(error)
    if isinstance(error, PruneError):
        return None
    if type(error).__name__ == "OutOfMemoryError":  # torch's, which is not imported here
        return "the GPU is out of memory; lower --batch-size, or use --device cpu"
    if isinstance(error, OSError) and number in SCARCE - {errno.ENOMEM}:
        return "too many files are open; raise the limit, as in 'ulimit -n 4096'"
    told = isinstance(error, RuntimeError | OSError | ImportError) and NO_MEMORY.search(text)
    if not (told or isinstance(error, MemoryError) or number == errno.ENOMEM):
        return None
    wanted = WANTED.search(text)
    more = f": {wanted[1]} more were wanted" if wanted else ""
    return f"out of memory{more}; lower --batch-size, or allow more (ulimit -v, the container)"
