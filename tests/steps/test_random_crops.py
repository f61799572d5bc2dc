"""Training on random parts of pictures: repeated, interrupted, and by several processes."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from prunecli.data.folder import folder
from prunecli.errors import Mismatch
from prunecli.files.artifacts import open_artifact
from prunecli.images.source import fingerprint
from prunecli.settings.data import DataSettings
from prunecli.settings.run import RunOptions
from prunecli.settings.train import ModelSettings, TrainingSettings
from prunecli.steps.train import train
from prunecli.training.course import TrainingSet

CROPS = {"size": 16, "resize": 20, "crop": "random"}
WORDS = (
    "train --model resnet20 --model-opt thin=0.05 --dataset folder --dataset-opt size=16 "
    "--dataset-opt resize=20 --batch-size 5 --epochs 2 --precision fp32 --device cpu"
).split()


@pytest.fixture
def tree(tmp_path):
    """Noise in three classes, of odd sizes: 24 images to train on, 12 to test."""
    draw = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 4)):
        for label in "abc":
            place = tmp_path / "data" / split / label
            place.mkdir(parents=True)
            for number in range(count):
                pixels = draw.integers(0, 256, (20 + 3 * number, 31, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{number}.png")
    return tmp_path / "data"


def settings(tree, **more):
    return TrainingSettings(
        model=ModelSettings("resnet20", own_options={"thin": 0.05}),
        data=DataSettings("folder", CROPS | more, tree),
        given={"epochs": 2, "batch_size": 5, "precision": "fp32"},
    )


@pytest.mark.parametrize("step", [2, 5, 7])  # of 5 in an epoch
def test_a_training_that_was_interrupted_ends_in_the_same_bytes(tree, tmp_path, stopped_at, step):
    whole = train(settings(tree), RunOptions(output=tmp_path / "whole.safetensors"))
    output = tmp_path / "parts.safetensors"
    with stopped_at(step):
        train(settings(tree), RunOptions(output=output))
    assert not output.exists()
    train(replace(settings(tree), resume=True), RunOptions(output=output))
    assert output.read_bytes() == whole.read_bytes()


def test_a_training_goes_on_with_what_it_began_to_see(tree, tmp_path, stopped_at):
    output = tmp_path / "c.safetensors"
    with stopped_at(2):
        train(settings(tree), RunOptions(output=output))
    other = replace(settings(tree, crop="shift"), resume=True)
    with pytest.raises(Mismatch, match=r"crop was 'random', now 'shift'"):
        train(other, RunOptions(output=output))


def test_parts_make_another_network_and_its_record_says_so(tree, tmp_path):
    told = []
    for crop in ("random", "shift"):
        path = tmp_path / f"{crop}.safetensors"
        train(settings(tree, crop=crop, pad=0, stream=True), RunOptions(output=path))
        told.append((open_artifact(path, "checkpoint").meta, load_file(path)["conv.weight"]))
    (one, crops), (two, shifts) = told
    assert not torch.equal(crops, shifts)
    assert [meta["dataset"]["options"]["crop"] for meta in (one, two)] == ["random", "shift"]
    assert one["dataset"]["sha256"] != two["dataset"]["sha256"]


def test_an_evaluation_takes_over_what_the_network_saw(tree, tmp_path, prune):
    checkpoint = train(settings(tree), RunOptions(output=tmp_path / "c.safetensors"))
    results = []
    for name, more in (("own", []), ("other", ["--dataset-opt", "resize=40"])):
        output = tmp_path / f"{name}.json"
        given = ["--data-dir", tree, "--device", "cpu", "--precision", "fp32", "-q", "-o", output]
        assert prune("eval", checkpoint, *given, *more).code == 0
        results.append(json.loads(output.read_text()))
    own, other = results
    assert (own["top1"], own["loss"]) != (other["top1"], other["loss"])
    history = open_artifact(checkpoint, "checkpoint").meta["history"]
    assert own["loss"] == pytest.approx(history[-1]["test_loss"], rel=1e-6)


def test_what_is_held_out_or_scored_is_seen_whole(tree):
    told = []
    for data in (folder(tree, "train", **CROPS),
                 folder(tree, "train", size=16, resize=20, stream=True)):  # fmt: skip
        images = TrainingSet(data, torch.device("cpu"), seed=1)
        told.append([*images.hold_out(0.3), *images.batches()])
        assert (images.data.images.crop is None) == (data.images.crop is None)
    for (x, y), (u, v) in zip(*told, strict=True):
        assert torch.equal(x, u)
        assert torch.equal(y, v)


def test_two_processes_see_the_parts_that_one_does(together, prune, tree, tmp_path):
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    words = [*WORDS, "--dataset-opt", "crop=random", "--data-dir", str(tree)]
    assert prune(*words, "-q", "-o", one).code == 0
    ended = together("prunecli", *words, "-o", str(two))
    assert [process.code for process in ended] == [0, 0], ended
    tensors, others = load_file(one), load_file(two)
    for name, tensor in tensors.items():
        torch.testing.assert_close(others[name], tensor, rtol=1e-3, atol=1e-3, msg=name)
    logs = [open_artifact(path, "checkpoint").meta["history"] for path in (one, two)]
    for row, again in zip(*logs, strict=True):
        assert again["loss"] == pytest.approx(row["loss"], rel=1e-4)


RECIPE = """
version: 1
matrix: {{crop: [random, shift], seed: [0, 1]}}
steps:
  dense:
    train: {{model: resnet20, model-opt: {{thin: 0.05}}, seed: "${{seed}}", dataset: folder,
             data-dir: {tree}, epochs: 1, batch-size: 5,
             dataset-opt: {{size: 16, crop: "${{crop}}", pad: 0, stream: true}}}}
"""


def test_jobs_side_by_side_train_on_the_same_parts(prune, tree, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.yaml").write_text(RECIPE.format(tree=tree))
    for jobs in (1, 2):
        ran = prune("run", "r.yaml", "-q", "-o", f"s{jobs}", "--jobs", jobs, "--threads", 1)
        assert ran.code == 0, ran.err
    found = [
        {str(path.relative_to(study)): path.read_bytes() for path in study.rglob("*.safetensors")}
        for study in (tmp_path / "s1", tmp_path / "s2")
    ]
    assert found[0] == found[1]
    assert len(set(found[0].values())) == len(found[0]) == 4


def test_a_stream_that_is_a_part_of_one_sees_random_parts_too(tree):
    whole, half = (folder(tree, "train", fraction=fraction, **CROPS) for fraction in (1, 0.5))
    assert half.images.crop is not None
    assert fingerprint(whole) != fingerprint(half)
