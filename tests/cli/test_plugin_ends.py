"""Code of a plugin that would end the program, in a job of a study."""

import json

import pytest

from prunecli.cli.study.steps import STEPS, invoke
from prunecli.errors import PruneError
from prunecli.runtime.interrupts import Terminated
from prunecli.runtime.progress import Progress

PLUGIN = """
import sys
import torch
from torch import nn
from prunecli.types import Images

class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.fc = nn.Linear(64, classes)

    def forward(self, x):
        if self.training:
            sys.exit(0)
        return self.fc(x.flatten(1))

def net(input_shape, classes):
    return Net(classes)

def data(data_dir, split, download):
    images = torch.zeros(8, 8, 8, 1, dtype=torch.uint8)
    return Images(images, torch.arange(8) % 2, ["dark", "light"], [0.5], [0.25])
"""
RECIPE = """
version: 1
name: ending
steps:
  dense: {train: {model: "ending:net", dataset: "ending:data", epochs: 1}}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "ending.py").write_text(PLUGIN)
    (tmp_path / "r.yaml").write_text(RECIPE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.fault(41)
def test_a_forward_that_ends_the_program_fails_its_job(folder, prune):
    ended = prune("run", "r.yaml", "-q", "-o", "study")
    assert ended.code == 8
    assert "model 'ending:net'" in ended.err
    assert "SystemExit: 0" in ended.err
    assert not list(folder.glob("study/dense/*.safetensors"))
    assert "sha256" not in json.loads((folder / "study/dense/job.json").read_text())
    assert prune("run", "r.yaml", "-q", "-o", "study").code == 8  # it is not taken for done


@pytest.mark.fault(41)
@pytest.mark.parametrize("error", [SystemExit(0), Terminated(143)])
def test_only_a_signal_may_end_a_job(error, monkeypatch):
    def end(context):
        raise error

    monkeypatch.setattr(STEPS["eval"], "do", end)
    wanted = Terminated if isinstance(error, Terminated) else PruneError
    with pytest.raises(wanted) as found:
        invoke("eval", ["a.safetensors"], Progress())
    assert isinstance(error, Terminated) or "SystemExit: 0" in str(found.value)
