"""What all tests share: a cache of their own, one trained network, and the command line."""

import os
import shutil
import signal
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from prunecli import cli


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, and what it said where."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session", autouse=True)
def environment(tmp_path_factory):
    """Nobody's PRUNECLI_* settings, a cache that starts empty, and one thread.

    The networks are tiny: more threads cost more than they bring, where cores are shared.
    """
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("PRUNECLI_")]:
            patch.delenv(name)
        patch.setenv("PRUNECLI_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="session")
def trained_once(environment, tmp_path_factory):
    """A `cnn` trained on digits for one epoch. Read-only: copy it, or use `checkpoint`."""
    path = tmp_path_factory.mktemp("trained") / "dense.safetensors"
    options = ["--model", "cnn", "--dataset", "digits", "--epochs", "1", "-q", "-o", str(path)]
    cli.cli.main(["train", *options], standalone_mode=False)
    return path


@pytest.fixture
def checkpoint(trained_once, tmp_path):
    """A copy of the trained network, `tmp_path/dense.safetensors`."""
    return Path(shutil.copy(trained_once, tmp_path / "dense.safetensors"))


@pytest.fixture
def prune(monkeypatch, capsys):
    """Runs `prunecli ARGUMENTS...` in this process and says how it ended."""
    handler = signal.getsignal(signal.SIGTERM)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["prunecli", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        return Ended(end.value.code, *capsys.readouterr())

    yield run
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def nothing_written(tmp_path):
    """`with nothing_written():` fails if a file below `tmp_path` is new, gone or another after."""

    def contents():
        return {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}

    @contextmanager
    def watch():
        before = contents()
        yield
        assert contents() == before

    return watch
