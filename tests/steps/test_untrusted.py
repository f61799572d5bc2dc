"""What a checkpoint says of its network and data comes from a stranger: nothing of it is run."""

import resource
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
import torch
from attacks import written
from safetensors.torch import load_file
from torch import nn

from prunecli.files.artifacts import open_artifact

CANARY = Path("canary")


@pytest.fixture
def folder(checkpoint, monkeypatch):
    """The current folder, with a module that a file must not import and one that is imported."""
    monkeypatch.chdir(checkpoint.parent)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    Path("lying.py").write_text(
        "from pathlib import Path\nPath('canary').touch()\n"
        "def net(input_shape, classes): pass\ndef data(root, split, download): pass\n"
    )
    module = ModuleType("imported_already")
    module.call = lambda *arguments, **options: CANARY.touch()
    module.two = lambda name, classes=0, third=0: CANARY.touch()
    monkeypatch.setitem(sys.modules, module.__name__, module)
    yield Path()
    sys.modules.pop("lying", None)


def described(**changes):
    """A checkpoint whose metadata says that."""
    dense = Path("dense.safetensors")
    meta = open_artifact(dense, "checkpoint").meta
    changed = {key: meta[key] | value for key, value in changes.items()}
    written(Path("odd.safetensors"), "checkpoint", load_file(dense), meta | changed)


COMMANDS = [
    "eval",
    "score --method snip",
    "mask --method snip --density 0.5",
    "finetune --epochs 1",
]
NAMES = ["os:system", "builtins:exec", "subprocess:run", "shutil:rmtree", "lying:net",
         "imported_already:call", "imported_already:two"]  # fmt: skip


@pytest.mark.fault(24)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_model_that_is_none_is_not_called(folder, prune, nothing_written, command, name):
    described(model={"name": name, "options": {}})
    with nothing_written():
        ended = prune(*command.split(), "odd.safetensors", "--dataset", "digits")
    assert ended.code == 2
    assert name in ended.err or "cannot be read" in ended.err
    assert len(ended.err.splitlines()) == 1


@pytest.mark.fault(24)
@pytest.mark.parametrize("name", [*NAMES[:4], "lying:data", *NAMES[5:]])
@pytest.mark.parametrize("command", COMMANDS)
def test_neither_is_a_data_set_that_is_none(folder, prune, nothing_written, command, name):
    described(dataset={"name": name, "options": {}})
    with nothing_written():
        ended = prune(*command.split(), "odd.safetensors", "--data-dir", ".")
    assert ended.code == 2
    assert name in ended.err or "cannot be read" in ended.err


@pytest.mark.fault(24)
@pytest.mark.parametrize("name", NAMES)
def test_the_diagnosis_of_a_mask_does_without_it(folder, prune, name):
    described(model={"name": name, "options": {}})
    ended = prune(*"mask odd.safetensors --method magnitude --density 0.5 -o m.safetensors".split())
    assert ended.code == 0
    assert open_artifact(Path("m.safetensors"), "mask").meta["collapse"]["live_path"] is None
    assert not CANARY.exists()


# Descriptions of what nobody could build


def deep(input_shape, classes, *, depth: int = 2):
    return nn.Sequential(*[nn.Linear(10, 10) for _ in range(depth)])


def wide(input_shape, classes, *, width: int = 2):
    assert torch.ones(1).tolist() == [1.0]  # so that it cannot be built without memory
    return nn.Sequential(nn.Flatten(), nn.Linear(784, width), nn.Linear(width, classes))


@pytest.fixture
def networks(folder, monkeypatch, trusting):
    trusting("networks_of_this_test")
    module = ModuleType("networks_of_this_test")
    module.deep, module.wide = deep, wide
    monkeypatch.setitem(sys.modules, module.__name__, module)


ABSURD = {
    "deep": {"name": "wrn", "options": {"depth": 6 * 10**8 + 4}},
    "wide": {"name": "wrn", "options": {"widen": 1e6}},
    "no number": {"name": "wrn", "options": {"widen": 1e300}},
    "not thin": {"name": "cnn", "options": {"thin": 1e6}},
    "classes": {"classes": 10**6},
    "torchvision's": {"name": "torchvision:vit_h_14", "options": {}, "classes": 10**6},
    "own, deep": {"name": "networks_of_this_test:deep", "options": {"depth": 10**9}},
    "own, wide": {"name": "networks_of_this_test:wide", "options": {"width": 10**8}},
}


@pytest.mark.fault(23)
@pytest.mark.parametrize("case", ABSURD)
@pytest.mark.parametrize("command", [*COMMANDS, "mask --method magnitude --density 0.5", "verify"])
def test_a_description_of_an_absurd_network_costs_nothing(networks, prune, command, case):
    described(model=ABSURD[case])
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    ended = prune(*command.split(), "odd.safetensors")
    assert time.process_time() - began < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000
    alone = command.startswith(("mask --method magnitude", "verify"))  # they do without
    assert ended.code in ([0] if alone else [2, 3, 4])
    assert len(ended.err.splitlines()) == 1 or alone


@pytest.mark.fault(23)
def test_the_size_of_the_images_is_checked_before_one_is_made(folder, prune):
    line = "train --model resnet20 --dataset digits --epochs 0 -q -o dense.safetensors --force"
    assert prune(*line.split()).code == 0
    described(model={"input_shape": [1, 8000, 8000]})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ended = prune("eval", "odd.safetensors")
    assert (ended.code, "the network takes 1x8000x8000 images" in ended.err) == (4, True)
    line = "mask odd.safetensors --method magnitude --density 0.5 -o m.safetensors"
    assert prune(*line.split()).code == 0
    assert open_artifact(Path("m.safetensors"), "mask").meta["collapse"]["live_path"] is None
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_what_cannot_be_built_without_memory_is_used_all_the_same(networks, prune):
    line = (
        "train --model networks_of_this_test:wide --dataset digits --epochs 0 -q -o w.safetensors"
    )
    assert prune(*line.split()).code == 0
    for command in ("eval", "finetune --epochs 1", "mask --method snip --density 0.5"):
        assert prune(*command.split(), "w.safetensors").code == 0
    mask = next(Path().glob("w*.mask.safetensors"))
    assert open_artifact(mask, "mask").meta["collapse"]["live_path"] is True
