"""The code of somebody else's plugin: what it is made of, as it was when this process saw it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path

from prunecli.files.digest import file_sha256


def code_of(spec: ModuleSpec) -> str | None:
    """The hash of a top-level module's sources, when this process first asked for it.

    It stays, since the code that a process has imported stays as well.
    """
    return _first(spec.name, spec.origin, tuple(spec.submodule_search_locations or ()))


def has_changed(spec: ModuleSpec) -> bool:
    """Whether the sources are others by now."""
    place = (spec.name, spec.origin, tuple(spec.submodule_search_locations or ()))
    return _first(*place) != _now(*place)


def forget() -> None:
    """Look anew: a new process begins."""
    _first.cache_clear()


def _now(module: str, origin: str | None, folders: tuple[str, ...]) -> str | None:
    """The hash of the sources by their places in the module, wherever it lies.

    The version of what was installed without them; None where nothing can be told.
    """
    if folders:
        files = {file.relative_to(folder): file for folder in folders for file in _modules(folder)}
    else:
        files = {Path(f"{module}.py"): Path(origin)} if origin and origin.endswith(".py") else {}
    lines = [f"{place.as_posix()}:{file_sha256(file)}\n" for place, file in sorted(files.items())]
    if lines:
        return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
    with suppress(PackageNotFoundError):
        return ",".join(version(name) for name in sorted(packages_distributions().get(module, [])))
    return None


_first = cache(_now)


def _modules(package: str) -> Iterator[Path]:
    """The .py files below a package's folder, but for those in folders that no import leads to."""
    for folder, folders, files in os.walk(package):
        folders[:] = [name for name in folders if name.isidentifier()]
        yield from (Path(folder, name) for name in files if name.endswith(".py"))
