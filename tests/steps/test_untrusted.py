"""What a checkpoint says of its network and data comes from a stranger: nothing of it is run."""

import sys
from pathlib import Path
from types import ModuleType

import pytest
from safetensors.torch import load_file

from prunecli.files.artifacts import open_artifact, write_artifact

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
    write_artifact(Path("odd.safetensors"), "checkpoint", load_file(dense), meta | changed)


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
    assert name in ended.err or "cannot be told" in ended.err
    assert len(ended.err.splitlines()) == 1


@pytest.mark.fault(24)
@pytest.mark.parametrize("name", [*NAMES[:4], "lying:data", *NAMES[5:]])
@pytest.mark.parametrize("command", COMMANDS)
def test_neither_is_a_data_set_that_is_none(folder, prune, nothing_written, command, name):
    described(dataset={"name": name, "options": {}})
    with nothing_written():
        ended = prune(*command.split(), "odd.safetensors", "--data-dir", ".")
    assert ended.code == 2
    assert name in ended.err or "cannot be told" in ended.err


@pytest.mark.fault(24)
@pytest.mark.parametrize("name", NAMES)
def test_the_diagnosis_of_a_mask_does_without_it(folder, prune, name):
    described(model={"name": name, "options": {}})
    ended = prune(*"mask odd.safetensors --method magnitude --density 0.5 -o m.safetensors".split())
    assert ended.code == 0
    assert open_artifact(Path("m.safetensors"), "mask").meta["collapse"]["live_path"] is None
    assert not CANARY.exists()
