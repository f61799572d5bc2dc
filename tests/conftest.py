"""What all tests share: a cache of their own, one trained network, and the command line."""

import multiprocessing
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import processes
import pytest
import torch
from faults import Faults

from prunecli import cli
from prunecli.plugins import code
from prunecli.plugins.trust import forget, trust
from prunecli.training import loop

USUAL = "not slow and not cuda"
"""The tests that run if none are chosen, as in pyproject.toml."""


def pytest_configure(config):
    config.pluginmanager.register(Faults())


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """All tests run side by side; a choice of them in this process alone, which starts sooner."""
    given = config.args_source is not config.ArgsSource.TESTPATHS
    chosen = given or config.option.keyword or config.option.markexpr != USUAL
    worker = hasattr(config, "workerinput")  # which must not start workers of its own
    if not (chosen or worker) and getattr(config.option, "numprocesses", 0) is None:
        config.option.numprocesses, config.option.maxprocesses = "auto", 8
        config.option.dist = "worksteal"


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


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
    # A shell without job control has what it starts in the background ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("PRUNECLI_")]:
            patch.delenv(name)
        patch.setenv("PRUNECLI_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(autouse=True)
def _as_in_a_process_of_its_own():
    """Nothing is trusted yet, and no plugin's code has been looked at."""
    forget()
    code.forget()


@pytest.fixture
def trusting(monkeypatch):
    """Lets files name these packages, for steps and for commands."""

    def allow(*names):
        monkeypatch.setenv("PRUNECLI_TRUST", " ".join(names))
        trust(names)

    return allow


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
def follow(prune, tmp_path_factory, monkeypatch):
    """Does what a shell script says, and its prunecli commands as the shell reads them here.

    A process for each would load torch anew. Gives how each command ended.
    """

    def run(script):
        folder = tmp_path_factory.mktemp("bin")
        tool, commands = folder / "prunecli", folder / "commands"
        said = '"${PRUNECLI_TRUST-}" "$@"'
        tool.write_text(f'#!/bin/sh\nprintf "%s\\n" {said} ++ >> {shlex.quote(str(commands))}\n')
        tool.chmod(0o755)
        path = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"}
        subprocess.run(["sh"], input=script, env=path, text=True, check=True)
        *given, rest = commands.read_text().split("++\n")
        assert rest == ""
        return [command(*arguments.splitlines()) for arguments in given]

    def command(names, *arguments):
        monkeypatch.setenv("PRUNECLI_TRUST", names)
        return prune(*arguments)

    return run


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


@pytest.fixture
def stopped_at(monkeypatch):
    """`with stopped_at(step):` a training within ends after that step, as if Ctrl-C came then."""
    real = loop.train

    @contextmanager
    def stop(step):
        def until(state, *arguments, saving, **options):
            saving.interrupted = lambda: state.step >= step
            real(state, *arguments, saving=saving, **options)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(loop, "train", until)
            yield

    return stop


@pytest.fixture(scope="session")
def server(environment):
    """Makes processes that have torch imported already, which takes longer than these tests do."""
    context = multiprocessing.get_context("forkserver")
    # torch.optim asks for the compiler when its first optimizer is made.
    context.set_forkserver_preload(["prunecli.cli", "prunecli.steps.train", "torch._dynamo"])
    return context


@pytest.fixture
def together(server, tmp_path_factory):
    """Runs a function in several processes, as torchrun would: how each ended.

    It is one of `processes`, by its name, or of another module. `arguments` are those of all
    processes, or with `each` those of every one. `meanwhile` is given the processes when they have
    been started. `context` makes them, in place of the server.
    """

    def run(
        function, *arguments, size=2, each=None, meanwhile=lambda started: None, context=server
    ):
        folder = tmp_path_factory.mktemp("together")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        shared = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        started = []
        does = getattr(processes, function) if isinstance(function, str) else function
        for rank in range(size):
            own = shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            given = (own, folder, does, each[rank] if each else arguments)
            started.append(context.Process(target=processes.start, args=given, daemon=True))
            started[-1].start()
        try:
            meanwhile(started)
            for process in started:
                process.join(60)
            assert all(p.exitcode is not None for p in started), "a process hangs"
        finally:
            for process in started:
                process.kill()
        said = [
            [(folder / f"{name}.{r}").read_text() for name in ("out", "err")] for r in range(size)
        ]
        return [Ended(p.exitcode, *texts) for p, texts in zip(started, said, strict=True)]

    return run
