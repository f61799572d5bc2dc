"""A network that gives more scores than there are classes, where it says so."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import prunecli
from prunecli.errors import BadUsage, Mismatch
from prunecli.files.records import ModelRecord
from prunecli.network.build import check_trainable
from prunecli.plugins.resolve import resolve

TEN = ModelRecord(name="mine", options={}, input_shape=(1, 8, 8), classes=10)


def gives(scores, **said):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, scores))
    for name, value in said.items():
        setattr(model, name, value)
    return model


@pytest.mark.parametrize(
    ("scores", "said"),
    [(10, {}), (10, {"outputs": 10}), (12, {"outputs": 12}), (10, {"outputs": 9})],
)
def test_as_many_scores_as_classes_or_as_it_says(scores, said):
    check_trainable(gives(scores, **said), TEN)


@pytest.mark.parametrize(
    ("scores", "said"),
    [(12, {}), (12, {"outputs": 13}), (9, {"outputs": 9}), (12, {"outputs": True}),
     (12, {"outputs": "12"})],
)  # fmt: skip
def test_other_scores_than_it_says_or_fewer_than_classes_are_refused(scores, said):
    with pytest.raises(Mismatch, match=rf"it makes \[1, {scores}\], not 10 classes"):
        check_trainable(gives(scores, **said), TEN)
    with pytest.raises(Mismatch):
        check_trainable(gives(scores, **said), replace(TEN, classes=11))


def test_fewer_outputs_than_classes_are_refused():
    with pytest.raises(BadUsage, match="outputs=9: it must be at least the 10 classes"):
        resolve("models", "mobilenet", by_file=False)((1, 28, 28), 10, outputs=9)


def test_it_trains_is_pruned_without_its_classifier_and_evaluated(prune, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = (
        "--model mobilenet --model-opt alpha=0.03125 --dataset digits --dataset-opt fraction=0.1"
    )
    assert prune(
        "train", *small.split(), "--model-opt", "outputs=20", "--epochs", 1, "-o", "c.safetensors",
        "--pruner", "gmp", "--opt", "beta=0.1", "--opt", "gamma=9", "--exclude-classifier",
    ).code == 0  # fmt: skip
    assert load_file("c.safetensors")["fc.weight"].shape[0] == 20
    assert "fc.weight" not in load_file("c.mask.safetensors")
    assert prune("eval", "c.safetensors", "-o", "r.json").code == 0
    result = json.loads(Path("r.json").read_text())
    assert 0 <= result["top1"] <= result["top5"] <= 100
    plain = prune("train", *small.split(), "--epochs", 0, "-o", "p.safetensors")
    assert plain.code == 0
    assert prune("eval", "p.safetensors", "-o", "p.json").code == 0
    more = result["flops_dense"] - json.loads(Path("p.json").read_text())["flops_dense"]
    assert more in (10 * 32, 2 * 10 * 32)  # ten more sums of 32 products


def test_in_python_too_and_another_head_takes_its_place(tmp_path):
    torch.manual_seed(0)
    network = prunecli.Network("mobilenet", (1, 28, 28), 10, {"alpha": 1 / 32, "outputs": 20})
    model = network.build()
    prunecli.train(model, "digits", prunecli.Hyperparameters(epochs=0))
    assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 20)
