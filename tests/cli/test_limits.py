"""Commands that run short of memory or open files end as promised, and leave nothing wrong."""

import shutil

import pytest
from limits import limited, torch_takes

from prunecli.settings.data import DataSettings
from prunecli.settings.run import RunOptions
from prunecli.settings.train import ModelSettings, TrainingSettings
from prunecli.steps.train import train

NATIVE = {-6, -11, 120, 127, 134, 139}
"""Where nothing at all is left, C code and the C library end the process, in their own ways."""
TRAIN = "--dataset digits --dataset-opt fraction=0.03 --epochs 1 -q -o"
COMMANDS = {
    "mask": "mask lamp.safetensors --density 0.1 -q -o out/a.safetensors",
    "lamp": "score --method lamp dense.safetensors -q -o out/a.safetensors",
    "snip": "score --method snip dense.safetensors -q -o out/a.safetensors",
    "eval": "eval dense.safetensors -q -o out/a.json",
    "apply": "apply dense.safetensors --mask mask.safetensors -q -o out/a.safetensors",
    "inspect": "inspect dense.safetensors",
    "verify": "verify dense.safetensors",
    "train": f"train --model cnn {TRAIN} out/a.safetensors",
    "resume": f"train --model resnet20 {TRAIN} out/t.safetensors --resume",
    "run": "run study.yaml -q -o out/study",
}
STUDY = """
version: 1
name: small
steps:
  dense: {train: {model: cnn, dataset: digits, dataset-opt: {fraction: 0.03}, epochs: 1, seed: 0}}
  mask: {mask: {checkpoint: "@dense", method: magnitude, density: 0.1}}
"""


@pytest.fixture
def folder(checkpoint, prune, stopped_at, monkeypatch):
    """What the commands read, and an empty `out` with a training that was stopped."""
    monkeypatch.chdir(checkpoint.parent)
    prune("score", checkpoint, "--method", "lamp", "-o", "lamp.safetensors")
    prune("mask", "lamp.safetensors", "--density", "0.1", "-o", "mask.safetensors")
    (checkpoint.parent / "study.yaml").write_text(STUDY)
    source = DataSettings("digits", {"fraction": 0.03})
    with stopped_at(0):
        options = TrainingSettings(
            model=ModelSettings("resnet20"), data=source, given={"epochs": 1}
        )
        train(options, RunOptions(output=checkpoint.parent / "begun" / "t.safetensors"))
    return checkpoint.parent


def outcome(folder, command, **limits):
    """How the command ended, and what it left in `out`."""
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(folder / "begun", out)
    before = {path.name for path in out.iterdir()}
    run = limited(*command.split(), cwd=folder, **limits)
    files = {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and not path.name.startswith(".") and path.name not in before
    }
    return run, files


def check(folder, name, **limits):
    """That it goes as without a limit, or ends in 6; a study's job may be what fails."""
    whole, made = outcome(folder, COMMANDS[name])
    assert whole.code == 0, whole
    run, left = outcome(folder, COMMANDS[name], **limits)
    if run.code == 0:
        assert (run.out, left) == (whole.out, made)
    elif name == "run" and run.code == 8:
        assert "out of memory" in run.err or "too many files" in run.err, run
        assert "this is a bug" not in run.err
    elif run.code not in NATIVE:
        assert run.is_shortage(), run
    assert run.code == 0 or not {"a.safetensors", "a.json", "t.safetensors"} & left.keys()
    return run


@pytest.mark.fault(36)
@pytest.mark.parametrize("name", ["mask", "run"])
def test_too_little_memory_for_torch_is_said(folder, name):
    run, left = outcome(folder, COMMANDS[name], memory=torch_takes() // 2)
    assert run.is_shortage(), run
    assert "error: out of memory" in run.err
    assert not {path for path in left if path.endswith(".safetensors")}


@pytest.mark.fault(36)
@pytest.mark.parametrize("name", [pytest.param("train", marks=pytest.mark.slow), "resume"])
def test_too_little_memory_for_a_training_is_said(folder, name):
    run = check(folder, name, memory=torch_takes() + (80 << 20))
    assert run.is_shortage(), run
    assert "damaged" not in run.err


@pytest.mark.fault(36)
def test_few_open_files_are_enough_or_it_is_said(folder):
    check(folder, "mask", files=6)


@pytest.mark.slow
@pytest.mark.fault(36)
@pytest.mark.parametrize("name", COMMANDS)
def test_no_limit_on_memory_makes_a_command_go_wrong(folder, name):
    codes = [
        check(folder, name, memory=torch_takes() + (more << 20)).code
        for more in [-1500, -20, 0, 20, 50, 80, 110, 140, 200, 300, 400, 600]
    ]
    assert codes[0] == 6
    assert sum(code in NATIVE for code in codes) <= 2, codes


@pytest.mark.slow
@pytest.mark.fault(36)
@pytest.mark.parametrize("name", COMMANDS)
def test_no_limit_on_open_files_makes_a_command_go_wrong(folder, name):
    for most in (5, 6, 7, 8, 9, 10, 12, 16, 24, 64):
        assert check(folder, name, files=most).code not in NATIVE
