"""The code of an external plugin: the key of its outputs hashes exactly the code that ran.

The sources of its package are hashed before anything of it is imported, and from then on nothing
else is: a module whose source is another by now is refused, and compiled code of an earlier one,
which Python tells by time and size, is not looked at.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from types import CodeType, ModuleType

from prunecli.files.digest import file_sha256

_SEEN: dict[str, dict[str, str]] = {}
"""The hash of each source by its real path, by the top-level module."""
_HASHES: dict[str, str | None] = {}
"""The hash of all of a top-level module, by its name."""


def code_of(spec: ModuleSpec) -> str | None:
    """The hash of a top-level module's sources by their paths in it, wherever it lies.

    The version of what was installed without them; None where nothing can be told. It is taken
    once, since the code that a process has imported stays as well.
    """
    if spec.name not in _HASHES:
        sources = dict(sorted(_sources(spec)))
        hashes = {path: file_sha256(file) for path, file in sources.items()}
        _SEEN[spec.name] = {os.path.realpath(sources[path]): hashes[path] for path in sources}
        _HASHES[spec.name] = _joined(hashes) if hashes else _version(spec.name)
        if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
            sys.meta_path.insert(0, _Finder())
    return _HASHES[spec.name]


def forget() -> None:
    """Look anew: a new process begins."""
    _SEEN.clear()
    _HASHES.clear()


def _joined(hashes: dict[str, str]) -> str:
    lines = "".join(f"{path}:{sha256}\n" for path, sha256 in hashes.items())
    return hashlib.sha256(os.fsencode(lines)).hexdigest()


def _version(module: str) -> str | None:
    with suppress(PackageNotFoundError):
        return ",".join(version(name) for name in sorted(packages_distributions().get(module, [])))
    return None


def _sources(spec: ModuleSpec) -> Iterator[tuple[str, Path]]:
    """The .py files of a module by their paths in it, but for those that no import leads to."""
    for folder in spec.submodule_search_locations or ():
        yield from ((file.relative_to(folder).as_posix(), file) for file in _modules(folder))
    if not spec.submodule_search_locations and (spec.origin or "").endswith(".py"):
        yield f"{spec.name}.py", Path(str(spec.origin))


def _modules(package: str) -> Iterator[Path]:
    seen: set[str] = set()
    for folder, folders, files in os.walk(package, followlinks=True):
        seen.add(os.path.realpath(folder))
        folders[:] = [
            name
            for name in folders
            if name.isidentifier() and os.path.realpath(Path(folder, name)) not in seen
        ]
        yield from (Path(folder, name) for name in files if name.endswith(".py"))


class _Finder(MetaPathFinder):
    """Finds modules of the packages that were looked at, as Python does, to load them so."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        sources = _SEEN.get(fullname.partition(".")[0])
        spec = PathFinder.find_spec(fullname, path, target) if sources else None
        if spec and sources and type(spec.loader) is SourceFileLoader:
            spec.loader = _AsSeen(fullname, spec.loader.path)
        return spec


class _AsSeen(SourceFileLoader):
    """Compiles the source that was hashed. Raises ImportError for any other."""

    def get_code(self, fullname: str) -> CodeType:
        data = self.get_data(self.path)
        seen = _SEEN.get(fullname.partition(".")[0], {}).get(os.path.realpath(self.path))
        if hashlib.sha256(data).hexdigest() != seen:
            raise ImportError(f"{self.path} was changed while in use; try again")
        code: CodeType = self.source_to_code(data, self.path)
        return code
