"""What people type by mistake, or by habit of other programs, is answered with what to do."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from prunecli.errors import Mismatch
from prunecli.files.records import ModelRecord
from prunecli.images.source import check_data_fits
from prunecli.settings.data import DataSettings
from prunecli.settings.run import RunOptions
from prunecli.settings.train import ModelSettings, TrainingSettings
from prunecli.steps.train import train
from prunecli.types import Images


@pytest.fixture
def folder(checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "line",
    [
        "eval dense.safetensors -o -",
        "mask dense.safetensors --method lamp --density 0.1 -o -",
        "report x.json -o -",
        "run quickstart -o -",
        "recipe cp gmp -",
    ],
)
def test_a_dash_is_no_output(folder, prune, nothing_written, line):
    with nothing_written():
        ended = prune(*line.split())
    assert ended.code == 2
    assert "standard output is for the paths of outputs" in ended.err


def test_a_file_may_be_called_a_dash_all_the_same(folder, prune):
    line = "mask dense.safetensors --method lamp --density 0.1 -o ./-"
    assert prune(*line.split()).code == 0
    assert Path("-").is_file()


@pytest.mark.parametrize("command", ["inspect", "eval", "score --method lamp", "run", "report"])
def test_a_dash_is_no_input(folder, prune, command):
    ended = prune(*command.split(), "-")
    assert ended.code == 3
    assert "standard input is not read: give a file" in ended.err


# One name of a list


def test_list_tells_of_one_what_is_written_of_it_and_its_options(prune):
    ended = prune("list", "methods", "snip")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith(
        "Connection sensitivity: |dL/dc| at c = 1, for a gate c on each weight.\n"
    )
    assert "s_j = |g_j * w_j|" in ended.out
    assert "Source: Lee et al., SNIP" in ended.out
    assert "Options:\n  batches: int = 1\n" in ended.out
    [(name, facts)] = json.loads(prune("list", "methods", "snip", "--json").out)["names"].items()
    assert (name, facts["options"]["batches"]) == ("snip", 1)
    assert "s_j = |g_j * w_j|" in facts["text"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("list methods snap", "there is no method 'snap'; did you mean 'snip'?"),
        ("list models snip", "there is no model 'snip'"),
        ("list methods no_such_module:f", "cannot be imported"),
    ],
)
def test_list_of_a_name_that_is_not_there(prune, line, words):
    ended = prune(*line.split())
    assert ended.code == 2
    assert words in ended.err


# What a mask and a state are


def test_inspect_tells_a_mask_by_its_weights_and_not_by_its_bytes(folder, prune):
    line = "mask dense.safetensors --method magnitude --density 0.1 -o m.safetensors"
    assert prune(*line.split(), "--scope", "uniform").code == 0
    facts = json.loads(prune("inspect", "m.safetensors", "--json").out)
    weights = load_file("dense.safetensors")
    assert facts["parameters"] == 430_500
    for tensor in facts["tensors"]:
        assert tensor["shape"] == list(weights[tensor["name"]].shape)
        assert tensor["dtype"] == "mask"
    assert sum(tensor["kept"] for tensor in facts["tensors"]) == 43_050
    said = prune("inspect", "m.safetensors").out
    assert "weights     430,500 in 4 tensors\n" in said
    one = facts["tensors"][0]
    kept = f"keeps {one['kept']:,}, density {one['kept'] / math.prod(one['shape']):.4g}"
    assert f"  {one['name']}  mask {one['shape']}  {kept}" in said


def test_inspect_says_how_far_a_training_is(folder, prune, stopped_at):
    source = DataSettings("digits", {}, folder, False)
    options = TrainingSettings(model=ModelSettings("cnn"), data=source, given={"epochs": 3})
    with stopped_at(20):
        train(options, RunOptions(output=Path("t.safetensors")))
    said = prune("inspect", "t.state.safetensors").out
    assert 'model       {"classes": 10' in said
    assert "trained     1 epochs, 20 steps\n" in said


# Data


@pytest.fixture
def tree(tmp_path):
    for split in ("train", "test"):
        for kind in ("cat", "dog", "owl"):
            (tmp_path / "tree" / split / kind).mkdir(parents=True)
            for number in range(2):
                pixels = np.full((16, 16, 3), 100 * number, np.uint8)
                place = tmp_path / "tree" / split / kind / f"{number}.png"
                Image.fromarray(pixels).save(place)
    return tmp_path / "tree"


def trained(prune, tree):
    line = "train --model cnn --dataset folder --epochs 1 -o t.safetensors --data-dir"
    return prune(*line.split(), tree)


def test_a_missing_test_set_names_the_way_to_train_without(folder, tree, prune):
    shutil.rmtree(tree / "test")
    ended = trained(prune, tree)
    assert ended.code == 6
    assert ended.err.endswith("; --no-eval-epochs trains without a test set\n")


def test_a_missing_training_set_does_not(folder, tree, prune):
    shutil.rmtree(tree / "train")
    ended = trained(prune, tree)
    assert ended.code == 6
    assert "--no-eval-epochs" not in ended.err


def test_a_class_that_one_split_lacks_is_named(folder, tree, prune):
    shutil.rmtree(tree / "test" / "owl")
    ended = trained(prune, tree)
    assert ended.code == 4
    assert "test lacks its classes 'owl'; both must have the same classes" in ended.err


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a", "b"], None),
        (["a", "c"], "there is no 'b' and 'c' are new"),
        (["b", "a"], "they are in another order, 'b', 'a'"),
    ],
)
def test_classes_that_differ_are_named(names, words):
    pixels, labels = torch.zeros(2, 4, 4, 1, dtype=torch.uint8), torch.tensor([0, 1])
    data = Images(pixels, labels, names, [0.5], [0.5])
    model = ModelRecord(name="net", options={}, input_shape=(1, 4, 4), classes=2)
    if words is None:
        check_data_fits(model, ("a", "b"), data)
        return
    with pytest.raises(Mismatch, match=f"classes are not the network's: {words}"):
        check_data_fits(model, ("a", "b"), data)


# Habits of other programs


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("mask x --amount 0.5", "Use --sparsity."),
        ("mask x --ratio 0.5", "Use --density or --sparsity or --compression."),
        ("mask x --keep 0.1", "Use --density."),
        ("train --arch resnet20", "Use --model."),
        ("train --learning-rate 0.1", "Use --lr."),
        ("train --gpu 0", "Use --device."),
        ("train --epoch 3", "'--epochs'"),
        ("mask x --method SNIP --density 0.1", "did you mean 'snip'?"),
        ("train --dataset CIFAR-10", "did you mean 'cifar10'?"),
        ("train --model resnet18", "there is torchvision:NAME too"),
        ("mask x --sparsity 50%", "'50%' is not a number; write 0.5"),
        ("mask x --density 0,5", "'0,5' is not a number; write 0.5"),
        ("train --lr 1e9999", "1e9999 is not a finite number"),
        ("train --model cnn --pruner gradual --opt sparsity=0.5", "there are density, "),
        ("run dense.safetensors", "it is a safetensors file, not text"),
    ],
)
def test_what_other_programs_take_is_answered_with_ours(folder, prune, line, words):
    ended = prune(*line.split())
    assert ended.code == 2
    assert words in ended.err


@pytest.mark.parametrize("line", ["list", "list nothing", "train --model", "eval"])
def test_the_command_line_is_refused_on_one_line(prune, line):
    ended = prune(*line.split())
    assert ended.code == 2
    assert ended.err.count("\n") == 1


def test_a_file_in_another_s_place_is_told_what_it_is_good_for(folder, prune):
    line = "mask dense.safetensors --method lamp --density 0.1 -o m.safetensors"
    assert prune(*line.split()).code == 0
    for line, words in (
        (
            "eval m.safetensors",
            "it is a mask file, but a checkpoint file is needed here; give a mask",
        ),
        ("eval dense.safetensors --mask dense.safetensors", "'prunecli mask' makes a mask from"),
    ):
        ended = prune(*line.split())
        assert ended.code == 3
        assert words in ended.err
