"""`train` and `finetune` in several processes, against the same command in one."""

import os
import signal
import time

import pytest
import torch
from attacks import written
from safetensors.torch import load_file

from prunecli.files.artifacts import open_artifact, read_mask
from prunecli.files.parsing import parsed
from prunecli.files.records import Lineage
from prunecli.runtime.world import World
from prunecli.settings.data import DataSettings
from prunecli.settings.run import RunOptions
from prunecli.settings.train import ModelSettings, TrainingSettings
from prunecli.settings.training import Hyperparameters
from prunecli.steps._training_files import TrainingFiles
from prunecli.steps.train import train
from prunecli.training.state import new_state
from prunecli.types import Pruner

# 40 images: batches of 19, 19 and 2, of which two processes have 10 and 9, 10 and 9, 1 and 1.
TRAIN = (
    "train --model cnn --dataset digits --dataset-opt fraction=0.03 --batch-size 19 --epochs 2 "
    "--precision fp32 --device cpu"
).split()
PRUNERS = {
    "none": "",
    "momentum": "--optimizer adamw --lr 0.001",
    "trained thresholds": "--pruner adaptive --opt density=0.2 --opt rate=1",
    "gradients that move a mask": "--pruner rigl --opt density=0.3 --opt every=1",
    "gradients of images held out": "--pruner gmp --opt beta=0.02 --opt gamma=0.002 "
    "--opt fraction=0.25",
}


def near(one, two):
    """Float32 in another order of adding: about 2e-7 of the largest; Adam divides by small ones."""
    for name, tensor in load_file(one).items():
        scale = float(tensor.abs().max())
        other = load_file(two)[name]
        torch.testing.assert_close(other, tensor, rtol=0, atol=1e-3 * scale + 1e-8, msg=name)
        close = (other - tensor).abs() <= 1e-5 * scale
        assert close.float().mean() > 0.99, name


def like(one, two):
    """The same metadata, but for numbers in the log, and the hash of what differs with them."""
    mine, other = (open_artifact(path, "checkpoint").meta for path in (one, two))
    for row, again in zip(mine.pop("history"), other.pop("history"), strict=True):
        spread, spread_again = row.pop("weights", [0]), again.pop("weights", [0])
        assert sum(abs(a - b) for a, b in zip(spread, spread_again, strict=True)) < 10
        assert row == pytest.approx(again, rel=1e-4)
    for meta in (mine, other):
        (meta["mask"] or {}).pop("sha256", None)
    assert mine == other


@pytest.mark.parametrize("options", PRUNERS.values(), ids=PRUNERS)
def test_two_processes_train_as_one_does(together, prune, tmp_path, options):
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    assert prune(*TRAIN, *options.split(), "-q", "-o", one).code == 0
    ended = together("prunecli", *TRAIN, *options.split(), "-o", str(two))
    assert [process.code for process in ended] == [0, 0], ended
    assert [process.out for process in ended] == [f"{two}\n", ""]
    assert "epoch 2: loss" in ended[0].err
    assert ended[1].err == ""
    near(one, two)
    like(one, two)
    names = {path.name.replace("one", "two", 1) for path in tmp_path.glob("one*")}
    assert {path.name for path in tmp_path.iterdir()} == names | {
        p.name for p in tmp_path.glob("one*")
    }
    if "--pruner" in options:
        masks = [read_mask(tmp_path / f"{name}.mask.safetensors")[0] for name in ("one", "two")]
        assert all(torch.equal(masks[1][name], kept) for name, kept in masks[0].items())
        assert not all(kept.all() for kept in masks[0].values())


def test_only_the_process_that_leads_writes(together, tmp_path):
    paths = [tmp_path / name / "x.safetensors" for name in ("leader", "other")]
    ended = together("prunecli", each=[[*TRAIN, "-o", str(path)] for path in paths])
    assert [process.code for process in ended] == [0, 0], ended
    assert [path.name for path in tmp_path.iterdir()] == ["leader"]
    assert {path.name for path in paths[0].parent.iterdir()} == {"x.safetensors", "x.log.jsonl"}


def test_finetuning_keeps_masked_weights_at_zero(together, prune, checkpoint, tmp_path):
    mask, one, two = (tmp_path / f"{name}.safetensors" for name in ("mask", "one", "two"))
    prune("mask", checkpoint, "--method", "magnitude", "--density", "0.1", "-o", mask)
    finetune = ["finetune", str(checkpoint), "--mask", str(mask), *TRAIN[5:], "--lr", "0.01"]
    assert prune(*finetune, "-q", "-o", one).code == 0
    assert [p.code for p in together("prunecli", *finetune, "-o", str(two))] == [0, 0]
    near(one, two)
    like(one, two)
    tensors, before = load_file(two), load_file(checkpoint)
    for name, kept in read_mask(mask)[0].items():
        assert not tensors[name][~kept].any()
        assert not torch.signbit(tensors[name][~kept]).any()
        assert not torch.equal(tensors[name][kept], before[name][kept])


def test_what_one_process_refuses_ends_all(together, checkpoint, nothing_written):
    with nothing_written():
        ended = together("prunecli", *TRAIN, "-o", str(checkpoint))
    assert [process.code for process in ended] == [5, 6]
    assert "it exists; overwrite it with --force" in ended[0].err
    assert "another process of this training is gone" in ended[1].err


def test_a_process_that_fails_by_itself_ends_all(together, tmp_path, nothing_written):
    outputs = [tmp_path / f"{name}.safetensors" for name in ("a", "b")]
    outputs[1].touch()
    with nothing_written():
        ended = together("prunecli", each=[[*TRAIN, "-o", str(path)] for path in outputs])
    assert [process.code for process in ended] == [6, 5]
    assert "another process of this training is gone" in ended[0].err
    assert "it exists; overwrite it with --force" in ended[1].err


def test_divergence_is_seen_by_all_at_once(together, tmp_path, nothing_written):
    with nothing_written():
        ended = together("prunecli", *TRAIN, "--lr", "1e20", "-o", str(tmp_path / "a.safetensors"))
    assert [process.code for process in ended] == [7, 7]
    assert ended[0].err.splitlines()[-1] == ended[1].err.splitlines()[-1]


DIFFERENT = {
    "seed": ("--seed 1", "seed is 1 in process 1, 0 in process 0"),
    "precision": (
        "--precision bf16",
        "settings.precision is 'bf16' in process 1, 'fp32' in process 0",
    ),
    "settings": ("--lr 0.5", "settings.lr is 0.5 in process 1, 0.05 in process 0"),
    "model": ("--model-opt thin=0.5", "model.options.thin is 0.5 in process 1, None in"),
    "pruner": ("--pruner rigl --opt density=0.3", "pruner is {'"),
    "evaluation": ("--no-eval-epochs", "eval_epochs is False in process 1, True in process 0"),
    "saving": ("--save-every 60", "save_every is 60.0 in process 1, 600.0 in process 0"),
    "resuming": ("--resume", "resume is True in process 1, False in process 0"),
    "a dry run": ("--dry-run", "dry_run is True in process 1, False in process 0"),
}


@pytest.mark.fault(39)
@pytest.mark.parametrize(("options", "said"), DIFFERENT.values(), ids=DIFFERENT)
def test_processes_that_were_told_different_things_all_say_what_differs(
    together, tmp_path, nothing_written, options, said
):
    own = [*TRAIN, "-o", str(tmp_path / "a.safetensors")]
    with nothing_written():
        ended = together("prunecli", each=[own, [*own, *options.split()]])
    assert [process.code for process in ended] == [4, 4], ended
    assert ended[0].err == ended[1].err
    [line] = ended[0].err.splitlines()
    assert said in line
    assert line.startswith("error: the processes of this training have different settings: ")


@pytest.mark.fault(39)
def test_processes_with_other_images_are_stopped(together, tmp_path, nothing_written):
    own = [*TRAIN, "-o", str(tmp_path / "a.safetensors")]
    with nothing_written():
        ended = together("prunecli", each=[own, [o.replace("=0.03", "=0.05") for o in own]])
    assert [process.code for process in ended] == [4, 4], ended
    assert "dataset.options.fraction is 0.05 in process 1, 0.03 in process 0" in ended[0].err


@pytest.mark.fault(39)
def test_of_three_that_differ_from_each_other_all_say_the_same(together, tmp_path, nothing_written):
    own = [*TRAIN, "-o", str(tmp_path / "a.safetensors")]
    with nothing_written():
        ended = together("prunecli", size=3, each=[own, [*own, "--seed", "1"], [*own, "--lr", "1"]])
    assert [process.code for process in ended] == [4, 4, 4], ended
    assert len({process.err for process in ended}) == 1
    assert "settings.lr is 1.0 in process 2, 0.05 in process 0" in ended[0].err


@pytest.mark.fault(39)
def test_processes_that_would_go_on_from_different_states_are_stopped(
    together, tmp_path, stopped_at
):
    paths = [tmp_path / name / "t.safetensors" for name in ("one", "two")]
    for path, step in zip(paths, (2, 3), strict=True):
        path.parent.mkdir()
        settings = {"batch_size": 19, "epochs": 2, "precision": "fp32"}
        source = DataSettings("digits", {"fraction": 0.03})
        with stopped_at(step):
            options = TrainingSettings(model=ModelSettings("cnn"), data=source, given=settings)
            train(options, RunOptions(output=path, device="cpu"))
    states = [path.with_name("t.state.safetensors") for path in paths]
    before = [state.read_bytes() for state in states]
    ended = together("prunecli", each=[[*TRAIN, "--resume", "-o", str(path)] for path in paths])
    assert [process.code for process in ended] == [4, 4], ended
    assert ": state is '" in ended[0].err
    states[1].unlink()
    ended = together("prunecli", each=[[*TRAIN, "--resume", "-o", str(path)] for path in paths])
    assert [process.code for process in ended] == [4, 4], ended
    assert ": state is None in process 1, '" in ended[0].err
    assert states[0].read_bytes() == before[0]


@pytest.mark.fault(39)
def test_processes_with_other_files_of_the_same_names_are_stopped(together, checkpoint, tmp_path):
    other = tmp_path / "other" / checkpoint.name
    other.parent.mkdir()
    file = open_artifact(checkpoint, "checkpoint")
    tensors = {name: tensor + (name == "fc2.bias") for name, tensor in file.items()}
    written(other, "checkpoint", tensors, file.meta)
    output = str(tmp_path / "a.safetensors")
    finetune = [[*TRAIN[5:], "--epochs", "1", "-o", output]] * 2
    each = [["finetune", str(p), *a] for p, a in zip((checkpoint, other), finetune, strict=True)]
    ended = together("prunecli", each=each)
    assert [process.code for process in ended] == [4, 4], ended
    assert ": parent is '" in ended[0].err
    assert not (tmp_path / "a.safetensors").exists()


def test_a_signal_to_one_stops_all_at_a_step_from_which_one_alone_goes_on(
    together, prune, tmp_path
):
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    state = tmp_path / "two.state.safetensors"
    longer = [*TRAIN, "--epochs", "40", "--lr", "0.002", "--no-eval-epochs", "-o"]

    def stop(processes):
        wait_for(state.exists)
        os.kill(processes[1].pid, signal.SIGTERM)

    ended = together("prunecli", *longer, str(two), meanwhile=stop)
    assert [process.code for process in ended] == [130, 143], ended
    assert not two.exists()
    done = open_artifact(state, "state").meta["training"]["step"]
    assert 3 <= done < 120
    resumed = prune(*longer, two, "--resume")
    assert (resumed.code, f"resumed after step {done}\n" in resumed.err) == (0, True)
    assert prune(*longer, one, "-q").code == 0
    near(one, two)
    like(one, two)


def wait_for(ready):
    deadline = time.monotonic() + 60
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("rank", [0, 1])
def test_nobody_goes_on_before_the_state_is_written(tmp_path, rank):
    path, met = tmp_path / "t.state.safetensors", []

    class Watched(World):
        def wait(self):
            met.append(path.exists())

    model = torch.nn.Linear(2, 2)
    state = new_state(model, Hyperparameters(epochs=1), Pruner(), 1)
    TrainingFiles(
        tmp_path / "t.safetensors", parsed(Lineage, {}), {}, state, Watched(rank, 2)
    ).save()
    assert met == [rank == 0]  # the other waits too, for what it does not write
