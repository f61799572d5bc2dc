"""The names of scorers, pruners, models and data sets. Nothing is imported for them.

A name is a file: `scorers/snip.py` defines `snip`, and nothing else lists it. Others add names
through the entry-point groups `prunecli.scorers`, `prunecli.pruners`, `prunecli.models` and
`prunecli.data`, or give an import path, `mypkg.mod:function`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, distributions, entry_points
from pathlib import Path

from prunecli.errors import BadUsage, suggest
from prunecli.package import FOLDER
from prunecli.runtime.shortage import raise_shortage

NOUNS = {"scorers": "method", "pruners": "pruner", "models": "model", "data": "data set"}
FAMILIES = {"models": {"torchvision": "prunecli.models._torchvision"}}
"""Names of the form FAMILY:NAME, which the module's `family(NAME)` finds, not an import path."""


@dataclass(frozen=True)
class Known:
    """The names of a kind."""

    names: Mapping[str, EntryPoint | None]
    """Names in order; the value is None for prunecli's own. Of a name that is defined twice, the
    first."""
    twice: Mapping[str, str]
    """The names that two packages define, with where the second has it from."""
    unread: tuple[str, ...]
    """What hinders the reading of packages that may define more."""


@cache
def known(kind: str) -> Known:
    """The names of a kind that files and installed packages define."""
    folder = Path(FOLDER) / kind
    found: dict[str, EntryPoint | None] = {
        path.stem.replace("_", "-"): None for path in folder.glob("[!_]*.py")
    }
    twice = {}
    points, unread = _installed(f"prunecli.{kind}")
    for point in points:
        if point.name in found:
            twice[point.name] = point.value
        found.setdefault(point.name, point)
    return Known(dict(sorted(found.items())), twice, tuple(unread))


def names(kind: str) -> Mapping[str, EntryPoint | None]:
    """The names of a kind; see `Known.names`."""
    return known(kind).names


def _installed(group: str) -> tuple[list[EntryPoint], list[str]]:
    """The entry points of a group, and what hinders the reading of others: metadata may be odd."""
    try:
        return list(entry_points(group=group)), []
    except Exception as error:  # of any package that is installed, which need not know prunecli
        raise_shortage(error)
    found: dict[str, list[EntryPoint]] = {}
    unread = []
    for package in distributions():
        name = None
        try:
            name = package.metadata["Name"]
            points = [point for point in package.entry_points if point.group == group]
            found.setdefault(name, points)  # the first in the path is in use
        except Exception as error:
            raise_shortage(error)
            unread.append(
                f"the package {name or package.locate_file('')!r}: its entry points cannot be read "
                f"({type(error).__name__}: {error}), so its plugins are unknown; reinstall it"
            )
    return [point for points in found.values() for point in points], unread


def check_name(kind: str, name: str) -> None:
    """Raise BadUsage for a name that nothing can be found by, without importing anything.

    A name that is defined twice is refused too: nobody knows which one is meant.
    """
    if name not in names(kind) and ":" not in name:
        raise BadUsage(f"there is no {NOUNS[kind]} {name!r}{suggest(name, list(names(kind)))}")
    if other := known(kind).twice.get(name):
        raise BadUsage(
            f"the {NOUNS[kind]} {name!r} is defined twice, once by {other}; uninstall one of them"
        )


def family_of(kind: str, name: str) -> str | None:
    """The module of a name's family, if it is of one."""
    prefix, colon, _ = name.partition(":")
    return FAMILIES.get(kind, {}).get(prefix) if colon else None


def is_path(kind: str, name: str) -> bool:
    """Whether a name is an import path, and not that of something bundled or installed."""
    return ":" in name and not family_of(kind, name) and name not in names(kind)


def import_path(kind: str, name: str) -> tuple[str, str]:
    """The module that a name stands for, and what it is called there."""
    point = names(kind).get(name)
    if point is None and ":" not in name:
        symbol = name.replace("-", "_")
        return f"prunecli.{kind}.{symbol}", symbol
    module, _, symbol = (point.value if point else name).partition(":")
    return module.strip(), symbol.partition("[")[0].strip()
