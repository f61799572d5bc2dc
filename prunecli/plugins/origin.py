"""The origin and the hash of an external plugin's code, before it is imported."""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import ModuleSpec

from prunecli.package import NAME
from prunecli.plugins.code import code_of
from prunecli.plugins.names import family_of, import_path
from prunecli.plugins.trust import may_follow
from prunecli.runtime.shortage import raise_shortage


def code(kind: str, name: str, *, by_file: bool) -> str | None:
    """The hash of a plugin's code, as this process has or would have it; see `origin`."""
    spec = origin(kind, name, by_file=by_file)
    return code_of(spec) if spec else None


def origin(kind: str, name: str, *, by_file: bool) -> ModuleSpec | None:
    """The top-level module of somebody else's plugin, which is not run for it.

    None for prunecli's own and Python's own, which versions tell apart, for what is not there, and
    for what only a file names.
    """
    if family_of(kind, name) or not may_follow(kind, name, by_file=by_file):
        return None
    top = import_path(kind, name)[0].partition(".")[0]
    if not top or top in sys.stdlib_module_names or top == NAME:
        return None
    try:
        return importlib.util.find_spec(top)
    except (ImportError, ValueError) as error:
        raise_shortage(error)
        return None
