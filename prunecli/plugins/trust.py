"""Trust in code: what the user names may be imported, and never what only a file names.

A checkpoint says which network it holds, and importing a module runs it. So an import path,
`mypkg.mod:function`, that a file gives is followed only where the user gave it as well: in the
command's options, in the recipe that is run, or by `--trust`. Names without a path lead to what is
bundled or installed.
"""

from __future__ import annotations

from collections.abc import Iterable

from prunecli.errors import BadUsage
from prunecli.plugins.names import NOUNS, is_path

_GIVEN: set[str] = set()
"""Import paths, and packages or modules of which all is trusted."""


def trust(names: Iterable[str]) -> None:
    """Allow files these import paths, and all paths into these packages or modules."""
    _GIVEN.update(names)


def trusted() -> list[str]:
    """What was allowed so far, for other processes that do a part of the work."""
    return sorted(_GIVEN)


def forget() -> None:
    """Allow nothing any more: a new command begins."""
    _GIVEN.clear()


def may_follow(kind: str, name: str, *, by_file: bool) -> bool:
    """Whether the code that a name leads to may be imported, if that is an import path.

    `by_file`: a file gave the name, not the user.
    """
    return not (by_file and is_path(kind, name)) or _is_trusted(name)


def check_may_follow(kind: str, name: str, *, by_file: bool) -> None:
    """Raise BadUsage unless `may_follow`."""
    if not may_follow(kind, name, by_file=by_file):
        raise BadUsage(
            f"{NOUNS[kind]} {name!r} is named by a file only, so it is not "
            f"imported; if you trust its code, add --trust {name}"
        )


def _is_trusted(path: str) -> bool:
    """Whether the user named this import path, or a package or module that it leads into."""
    parts = path.partition(":")[0].split(".")
    modules = (".".join(parts[:count]) for count in range(1, len(parts) + 1))
    return path in _GIVEN or not _GIVEN.isdisjoint(modules)
