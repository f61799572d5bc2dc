"""Shortages of memory, threads or open files, told apart from faults of the input."""

from __future__ import annotations

import errno
import math
import mmap
import re

from prunecli.errors import BadEnvironment


class Shortage(BadEnvironment):
    """The machine lacks memory, threads or open files; the input is not at fault.

    `lower` is the option of the command that needs less memory if it is lowered; "" if none does.
    """

    def __init__(self, kind: str, wanted: str = "", lower: str = "--batch-size") -> None:
        super().__init__(
            MENDS[kind].format(wanted=wanted, lower=f"lower {lower}, or " * bool(lower))
        )
        self.kind, self.wanted = kind, wanted

    def where(self, lower: str) -> Shortage:
        """The same error for a command with another `lower`."""
        return Shortage(self.kind, self.wanted, lower)


SCARCE = {
    kind: re.compile(pattern, re.IGNORECASE)
    for kind, pattern in (
        ("files", r"too many open files|received \d+ items of ancdata"),
        ("threads", r"start new thread|thread creation failed|resource temporarily unavailable"),
        (
            "gpu",
            r"cuda.*out of memory|_STATUS_ALLOC_FAILED|_DEVICE_ALLOCATION_FAILED"
            r"|CUBLAS_STATUS_NOT_INITIALIZED when calling .cublasCreate",  # its workspace
        ),
        (
            "memory",
            r"can.?t allocate memory|cannot allocate|not enough (memory|space)|bad_alloc"
            r"|out of (shared )?memory|insufficient shared memory|unable to (allocate|mmap)"
            r"|failed to (allocate|map segment)|(memory|buffer) allocation failed"
            r"|could not (create a primitive|(create|initialize) a memory)",
        ),
    )
}
"""Messages of torch, oneDNN, numpy, the dynamic loader and the system."""
NUMBERS = {
    errno.EMFILE: "files",
    errno.ENFILE: "files",
    errno.EAGAIN: "threads",
    errno.ENOMEM: "memory",
}
MENDS = {
    "files": "too many files are open; raise the limit, as in 'ulimit -n 4096'",
    "threads": "no more threads or processes can be started; allow more of them, or more memory "
    "(ulimit -u, ulimit -v, the container)",
    "gpu": "the GPU is out of memory{wanted}; {lower}use --device cpu",
    "memory": "out of memory{wanted}; {lower}allow more (ulimit -v, the container)",
}
ROOM = 1 << 25
"""Bytes without which nothing can continue."""
WANTED = re.compile(r"(?:allocate|mmap)\s+([\d.]+)\s?(bytes|[KMGT]i?B)", re.IGNORECASE)


def raise_shortage(error: BaseException) -> None:
    """Raise Shortage if a lack of memory, threads or open files caused `error`.

    Call this before blaming the input for an error of other people's code.
    """
    seen: BaseException | None = error
    for _ in range(10):  # a library may have wrapped the cause
        if seen is None:
            return
        if isinstance(seen, Shortage):
            raise seen
        if found := _shortage(seen):
            raise found from error
        seen = seen.__cause__ or seen.__context__


def _shortage(error: BaseException) -> Shortage | None:
    """The Shortage that an error is; None for any other error."""
    if (kind := _scarce(error)) is None:
        return None
    wanted = WANTED.search(str(error))
    return Shortage(kind, f": {_size(*wanted.groups())} more were needed" if wanted else "")


def _scarce(error: BaseException) -> str | None:
    """The key of `MENDS` for an error; None if it is no shortage."""
    if type(error).__name__ == "OutOfMemoryError":  # torch's; torch is not imported here
        return "gpu"
    if isinstance(error, OSError) and error.errno is not None:  # its text may contain a file's name
        return NUMBERS.get(error.errno)
    if isinstance(error, RuntimeError | OSError | ImportError | SystemError):
        text = str(error)
        for kind, pattern in SCARCE.items():
            if pattern.search(text):
                return kind
        if not isinstance(error, OSError) and not _has_room():  # C code may not name the cause
            return "memory"
    return "memory" if isinstance(error, MemoryError) else None


def _has_room() -> bool:
    """Whether this process can allocate `ROOM`."""
    try:
        mmap.mmap(-1, ROOM).close()
    except (OSError, MemoryError):
        return False
    return True


def _size(number: str, unit: str) -> str:
    """A readable amount: '8179200', 'bytes' -> '7.8 MiB'."""
    number = number.rstrip(".")  # numpy's "256. TiB"
    if unit.lower() != "bytes" or float(number) < 1024:
        return f"{number} {unit}"
    power = min(6, int(math.log(float(number), 1024)))
    return f"{float(number) / 1024**power:.1f} {'KMGTPE'[power - 1]}iB"
