"""`--version` tells a report of a fault what is installed."""

import platform
import subprocess
import sys
from importlib.metadata import version

import prunecli
from prunecli.cli import version as module


def test_the_versions_of_what_computes_are_told_too(prune):
    first, second = prune("--version").out.splitlines()
    assert first == f"prunecli, version {prunecli.__version__}"
    assert second.startswith(f"Python {platform.python_version()}, torch {version('torch')}, ")


def test_a_broken_installation_says_what_it_lacks(prune, monkeypatch):
    monkeypatch.setattr(module, "COMPUTE", ("torch", "not-there"))
    ended = prune("--version")
    assert ended.code == 0
    assert "not-there not installed" in ended.out


def test_nothing_that_takes_long_is_imported_for_it():
    code = "import sys, atexit; atexit.register(lambda: print('torch' in sys.modules)); "
    code += "sys.argv = ['prunecli', '--version']; from prunecli.cli import main; main()"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.stdout.splitlines()[-1] == "False", ended.stderr
