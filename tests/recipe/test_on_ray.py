"""A study on a real, local Ray of two workers, one of which is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("ray")

RECIPE = """
version: 1
name: tiny
matrix: {seed: [0, 1]}
steps:
  dense: {train: {model: cnn, dataset: digits, epochs: 6, seed: "${seed}", eval_epochs: false}}
  result: {eval: {checkpoint: "@dense"}}
"""


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_ADDRESS", "local")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # or whatever else runs here starves them
    Path("r.yaml").write_text(RECIPE)
    return "r.yaml"


def descendants(pid):
    """The processes below one, by pid, with their command lines. Linux only."""
    parents, lines = {}, {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            lines[int(path.name)] = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (OSError, ValueError):
            continue
    below = {pid}
    while grown := {child for child, parent in parents.items() if parent in below} - below:
        below |= grown
    return {child: lines.get(child, "") for child in below - {pid}}


def study(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds workers by /proc")
def test_a_killed_worker_is_replaced_and_the_bytes_are_those_of_a_local_run(recipe, prune, request):
    line = [sys.executable, "-m", "prunecli", "run", recipe, "-o", "ray", "--engine", "ray"]
    process = subprocess.Popen([*line, "--jobs", "2"], stderr=subprocess.PIPE, text=True)
    request.addfinalizer(process.kill)
    states = [Path(f"ray/dense/seed={seed}/ckpt.state.safetensors") for seed in (0, 1)]
    while not any(state.exists() for state in states):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    busy = [pid for pid, line in descendants(process.pid).items() if line.startswith("ray::_task")]
    assert len(busy) == 2
    os.kill(busy[0], signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "4 jobs done now" in err

    local = prune("run", recipe, "-o", "here", "--threads", "1")
    assert local.code == 0, local.err
    assert study(Path("ray")) == study(Path("here"))


def test_without_ray_it_is_said_what_to_install(recipe, prune, monkeypatch, nothing_written):
    monkeypatch.setitem(sys.modules, "ray", None)
    ended = prune("run", recipe, "--engine", "ray")
    assert (ended.code, ended.out) == (6, "")
    assert ended.err == "error: --engine ray needs Ray: pip install 'prunecli[ray]'\n"
