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
"""Files with the limits of a group of processes, by Linux's cgroups of version 2 and 1; 'max' where
there is none."""
IN_USE = {resource.RLIMIT_AS: 0, resource.RLIMIT_DATA: 5}
"""The position in /proc/self/statm of the count of pages that such a limit is on."""


def cores(root: Path = ROOT) -> int:
    """CPU cores that this process may use, or be given the time of, rounded down.

    For work whose results do not depend on how many threads do it: by how many torch computes,
    which sums are rounded by, is left as it is.
    """
    known = hasattr(os, "sched_getaffinity")
    own = len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
    return max(1, min(own, int(_quota(root) or own)))


def memory(root: Path = ROOT) -> int:
    """Bytes of memory that this process may have: the machine's, or what it is limited to."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *_left(root)]
    for group in _groups("memory", root):
        limits += [int(n) for n in map(_read, _each(group, MEMORY_LIMITS)) if n.isdecimal()]
    return min(limits)


def at_home(path: str | os.PathLike[str]) -> str:
    """The path with a '~' for the user's folder filled in, as a shell does.

    It stays as it is where nobody knows that folder. For paths that no shell has seen: in recipes,
    the environment, and within quotes.
    """
    return os.path.expanduser(path)  # noqa: PTH111 - which fails for want of a user


def _left(root: Path) -> Iterator[int]:
    """What this process's own limits leave to it."""
    pages = _read(root / "proc/self/statm").split() or ["0"] * 7
    for kind, field in IN_USE.items():
        most, _ = resource.getrlimit(kind)
        if most != resource.RLIM_INFINITY:
            yield max(0, most - int(pages[field]) * os.sysconf("SC_PAGE_SIZE"))


@cache
def _quota(root: Path) -> float | None:
    """Cores whose time the groups of this process are given, at most; None if that is no matter."""
    quotas = []
    for group in _groups("cpu", root):
        names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        given = _read(group / "cpu.max").split() or list(map(_read, _each(group, names)))
        if len(given) == 2 and all(number.isdecimal() and int(number) for number in given):
            quotas.append(int(given[0]) / int(given[1]))
    return min(quotas, default=None)


def _groups(controller: str, root: Path) -> Iterator[Path]:
    """The folders of the groups that this process is in, from its own to that of all.

    A container may see only its own folder, as that of all, and by the host's name for it.
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
    """What a file of the system says; nothing where there is none."""
    try:
        return path.read_text().strip()
    except (OSError, ValueError) as error:
        raise_shortage(error)
        return ""
