"""The cores and memory that this process can use: a container limits both."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath

from prunecli.runtime.shortage import raise_shortage

ROOT = Path("/")
"""The folder that /proc and /sys are in."""
MEMORY_LIMITS = ("memory.max", "memory.high", "memory.limit_in_bytes")
"""Files with the memory limits of a Linux cgroup, versions 2 and 1; 'max' means none."""
IN_USE = {resource.RLIMIT_AS: 0, resource.RLIMIT_DATA: 5}
"""The field of /proc/self/statm, in pages, that each limit applies to."""


def cores(root: Path = ROOT) -> int:
    """CPU cores that this process may use, by its affinity and CPU quota, rounded down.

    Only for work whose results do not depend on the number of threads. torch's number of threads
    affects how sums are rounded, so it stays as it is.
    """
    known = hasattr(os, "sched_getaffinity")
    own = len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
    return max(1, min(own, int(_quota(root) or own)))


def memory(root: Path = ROOT) -> int:
    """Bytes of memory that this process may use: the machine's, or a lower limit."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *_left(root)]
    for group in _groups("memory", root):
        limits += [int(n) for n in map(_read, _each(group, MEMORY_LIMITS)) if n.isdecimal()]
    return min(limits)


def at_home(path: str | os.PathLike[str]) -> str:
    """The path with '~' expanded, as a shell does; unchanged if the home folder is unknown.

    For paths that no shell has expanded: in recipes, the environment, and quotes.
    """
    return os.path.expanduser(path)  # noqa: PTH111 - which fails for want of a user


def _left(root: Path) -> Iterator[int]:
    """The bytes that this process's resource limits leave to it."""
    pages = _read(root / "proc/self/statm").split() or ["0"] * 7
    for kind, field in IN_USE.items():
        most, _ = resource.getrlimit(kind)
        if most != resource.RLIM_INFINITY:
            yield max(0, most - int(pages[field]) * os.sysconf("SC_PAGE_SIZE"))


@cache
def _quota(root: Path) -> float | None:
    """The CPU quota, in cores, of this process's cgroups; None if there is none."""
    quotas = []
    for group in _groups("cpu", root):
        names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        given = _read(group / "cpu.max").split() or list(map(_read, _each(group, names)))
        if len(given) == 2 and all(number.isdecimal() and int(number) for number in given):
            quotas.append(int(given[0]) / int(given[1]))
    return min(quotas, default=None)


def _groups(controller: str, root: Path) -> Iterator[Path]:
    """The folders of this process's cgroups, from its own up to the root.

    In a container, its own folder may appear as the root, while the path is the host's.
    """
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers and controller not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / (controller if controllers else "")
        own = PurePosixPath(path.lstrip("/"))
        yield from (top / group for group in (own, *own.parents) if ".." not in group.parts)


def _each(group: Path, names: tuple[str, ...]) -> Iterator[Path]:
    return (group / name for name in names)


def _read(path: Path) -> str:
    """The text of a system file; empty if it cannot be read."""
    try:
        return path.read_text().strip()
    except (OSError, ValueError) as error:
        raise_shortage(error)
        return ""
