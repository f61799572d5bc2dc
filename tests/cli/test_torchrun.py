"""`train` under the real torchrun: it starts, signals and ends processes."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from prunecli.files.artifacts import open_artifact

GUIDE = Path(__file__).parent.parent.parent / "docs" / "guides" / "several-gpus.md"
[LINE] = re.findall(r"^torchrun (--.*)$", GUIDE.read_text(), re.MULTILINE)
# What the guide says, only longer in epochs and shorter in images.
SHARED = (
    f"{LINE} --epochs 60 --dataset-opt fraction=0.03 --batch-size 19 --no-eval-epochs --device cpu"
)


@pytest.fixture
def torchrun(tmp_path, monkeypatch):
    """Starts the guide's command in `tmp_path`."""
    monkeypatch.chdir(tmp_path)
    started = []

    def start(*options):
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen([*command, *shlex.split(SHARED), *options], **pipes))
        return started[-1]

    yield start
    for agent in started:
        for pid in [*children(agent), agent.pid] if agent.poll() is None else []:
            os.kill(pid, signal.SIGKILL)


def children(process):
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return [int(pid) for pid in listed.split()]


def test_what_ctrl_c_and_the_death_of_a_process_leave_goes_on(torchrun, prune, tmp_path):
    output, state = tmp_path / "two.safetensors", tmp_path / "two.state.safetensors"
    agent = torchrun()
    wait_for(agent, state.exists)
    agent.send_signal(signal.SIGINT)
    _, err = agent.communicate(timeout=60)
    assert agent.returncode != 0
    assert err.count("error: interrupted") == 2, err
    stopped = steps(state)
    assert 0 < stopped < 180

    agent = torchrun("--resume")
    wait_for(agent, lambda: steps(state) > stopped)
    began = time.monotonic()
    os.kill(children(agent)[1], signal.SIGKILL)
    out, err = agent.communicate(timeout=60)
    assert time.monotonic() - began < 25  # torchrun kills after 30 s what does not end by itself
    assert (agent.returncode != 0, out) == (True, "")
    assert "this is a bug" not in err
    assert stopped < steps(state) < 180
    assert not output.exists()

    _, alone = SHARED.split("-m prunecli ")
    resumed = prune(*shlex.split(alone), "--resume")
    assert (resumed.code, resumed.out) == (0, "two.safetensors\n")
    meta = open_artifact(output, "checkpoint").meta
    assert [row["epoch"] for row in meta["history"]] == list(range(1, 61))
    assert {path.name for path in tmp_path.iterdir()} == {"two.safetensors", "two.log.jsonl"}


def steps(state):
    return open_artifact(state, "state").meta["training"]["step"]


def wait_for(agent, ready):
    deadline = time.monotonic() + 90
    while not ready():
        assert agent.poll() is None, agent.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
