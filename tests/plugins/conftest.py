"""Packages of somebody else's, that can be imported and are installed."""

import importlib
import sys
from importlib.metadata import EntryPoint

import pytest

from prunecli.plugins import names

PLUGIN = '''
def scorer(weight, *, power: int = 2, name: str = "x"):
    """Score by a power.

    More words.
    """

scale = 3
'''


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """An importable module `mypkg.mod`."""
    (tmp_path / "mypkg").mkdir()
    (tmp_path / "mypkg" / "mod.py").write_text(PLUGIN)
    (tmp_path / "mypkg" / "broken.py").write_text("def broken(:")
    (tmp_path / "mypkg" / "failing.py").write_text("1 / 0")
    (tmp_path / "mypkg" / "ending.py").write_text("raise SystemExit(0)")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "mypkg"]:
        del sys.modules[name]


@pytest.fixture
def installed(monkeypatch):
    """Makes `name="module:attribute"` entry points of the scorers, as other packages would."""

    def install(*pairs):
        points = [EntryPoint(name, value, "prunecli.scorers") for name, value in pairs]
        monkeypatch.setattr(
            names, "entry_points", lambda group: [p for p in points if p.group == group]
        )
        names.known.cache_clear()

    yield install
    names.known.cache_clear()


BUILDER = """
from pathlib import Path

Path("imported").touch()

def net(input_shape, classes, *, width: int = 2):
    "A network."

class Net:
    def __init__(self, input_shape, classes):
        pass

def data(root, split, download=False):
    "Images."

def swapped(classes, input_shape):
    Path("called").touch()
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A module `mine` in the current folder, which is where modules are looked for first."""
    (tmp_path / "mine.py").write_text(BUILDER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), *sys.path])
    importlib.invalidate_caches()
    yield tmp_path
    sys.modules.pop("mine", None)
