"""Killed at any of many moments, a training and a study go on to the very same bytes."""

import importlib
import os
import random
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from prunecli import cli

PLUGIN = """
import os, time
import torch
from torch import nn
from prunecli.types import Images

class Net(nn.Module):
    def __init__(self, pixels, classes):
        super().__init__()
        self.fc = nn.Linear(pixels, classes)

    def forward(self, x):
        time.sleep(float(os.environ.get("NAP", 0)) * self.training)
        return self.fc(x.flatten(1))

def net(input_shape, classes):
    return Net(256, classes)

def data(data_dir, split, download):
    generator = torch.Generator().manual_seed(len(split))
    images = torch.randint(0, 256, (64, 16, 16, 1), generator=generator).to(torch.uint8)
    return Images(images, images[:, 0, 0, 0].long() // 128, ["dark", "light"], [0.5], [0.25])
"""
TRAIN = "train --model napping:net --dataset napping:data --epochs 4 --batch-size 16 --seed 0"
TRAIN += " --pruner gradual --opt density=0.5 --save-every 0 -q"
RECIPE = """
version: 1
name: tiny
matrix: {seed: [0, 1]}
steps:
  dense:
    train:
      {model: "napping:net", dataset: "napping:data", epochs: 10, batch_size: 16, seed: "${seed}"}
  mask: {mask: {checkpoint: "@dense", method: magnitude, density: 0.5}}
  sparse: {finetune: {checkpoint: "@dense", mask: "@mask", epochs: 2}}
  result: {eval: {checkpoint: "@sparse"}}
  table: {report: {results: "@result[*]", format: csv}}
"""
STUDY = "run r.yaml --threads 1 --jobs 2 -o"
FEW_AND_MANY = pytest.mark.parametrize("kills", [2, pytest.param(50, marks=pytest.mark.slow)])
STUDY_KILLS = 12


@pytest.fixture
def folder(tmp_path, monkeypatch, environment):
    """The working folder: it has the plugin and the recipe."""
    (tmp_path / "napping.py").write_text(PLUGIN)
    (tmp_path / "r.yaml").write_text(RECIPE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    importlib.import_module("torch._dynamo")  # which each training loads: once, not in all of them
    return tmp_path


def begun(line):
    """`prunecli LINE` in a process of its own, which need not load torch anew; its id."""
    process = os.fork()
    if process == 0:
        with suppress(BaseException):
            said = os.open("said", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            sys.stdout = sys.stderr = os.fdopen(said, "w", buffering=1)
            sys.argv = ["prunecli", *line.split()]
            try:
                cli.main()
            except SystemExit as end:
                os._exit(end.code)
        os._exit(99)
    return process


def ended(process):
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def outputs(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file() and path.name not in ("job.json", "said")
    }


def undisturbed(line, monkeypatch):
    """How many seconds it takes when nothing kills it."""
    monkeypatch.setenv("NAP", "0.005")
    began = time.monotonic()
    assert ended(begun(line)) == 0, Path("said").read_text()
    return time.monotonic() - began


@pytest.mark.fault(13)
@FEW_AND_MANY
def test_a_training_killed_at_any_moment_goes_on_to_the_same_bytes(folder, monkeypatch, kills):
    """One run is killed until it is through, then the next one."""
    monkeypatch.setenv("NAP", "0")
    assert ended(begun(f"{TRAIN} -o first/t.safetensors")) == 0, Path("said").read_text()
    seconds = undisturbed(f"{TRAIN} -o whole/t.safetensors", monkeypatch)
    assert outputs("first") == outputs("whole")
    rng, killed, under_way, runs = random.Random(12), 0, 0, 0
    line = f"{TRAIN} -o one/t.safetensors --resume"

    def through():
        assert outputs("one") == outputs("whole")
        shutil.rmtree("one")
        return 1

    while killed < kills:
        process = begun(line)
        waited = time.monotonic() + 10 * seconds
        while not Path("one/t.state.safetensors").exists() and time.monotonic() < waited:
            time.sleep(0.001)  # until there is something to go on from
        time.sleep(rng.uniform(0, seconds / 2))
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        code = ended(process)
        assert code in (0, -signal.SIGKILL), Path("said").read_text()
        if code == 0:
            runs += through()
            continue
        killed += 1
        under_way += Path("one/t.state.safetensors").exists()
        if killed % 5 == 0 or killed == kills or Path("one/t.safetensors").exists():
            assert ended(begun(f"{line} --force")) == 0, Path("said").read_text()
            runs += through()
    print(f"{killed} kills of {runs} runs, {under_way} with a state to go on from")
    assert under_way > kills / 4


@pytest.mark.fault(13)
@pytest.mark.slow
def test_a_study_killed_at_12_moments_goes_on_to_the_same_bytes(folder, monkeypatch):
    seconds = undisturbed(f"{STUDY} whole", monkeypatch)
    rng = random.Random(13)
    for kill in range(1, STUDY_KILLS + 1):
        process = begun(f"{STUDY} one")
        time.sleep(rng.uniform(0, seconds))
        os.kill(process, signal.SIGKILL)
        assert ended(process) in (0, -signal.SIGKILL)
        if kill % 4 == 0:
            assert ended(begun(f"{STUDY} one")) == 0, Path("said").read_text()
            assert outputs("one") == outputs("whole")
            shutil.rmtree("one")
