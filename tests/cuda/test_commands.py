"""Every command with `--device cuda`, and what its files are to a machine without a GPU."""

import json

import pytest
import torch
from on_gpu import NAME
from safetensors.torch import load_file

from prunecli.files.artifacts import open_artifact, read_mask
from prunecli.plugins.names import names
from prunecli.plugins.resolve import resolve

pytestmark = pytest.mark.cuda

METHODS = list(names("scorers"))
OF_NETWORKS = [m for m in METHODS if resolve("scorers", m, by_file=False).takes_model]
QUICK = {"obd": ["--opt", "batches=1", "--opt", "probes=4"], "fisher": ["--batch-size", "32"]}
"""Of a method that takes long even here."""


def test_train_says_where_it_trained_and_learns(on_gpu, tmp_path):
    output = tmp_path / "t.safetensors"
    given = ["--model", "resnet20", "--thin", "0.1", "--dataset", "digits", "--epochs", "2"]
    said = on_gpu("train", *given, "-v", "-o", output)
    assert f"on {NAME}" in said.err
    meta = open_artifact(output, "checkpoint").meta
    assert meta["device"] == NAME
    first, last = meta["history"]
    assert last["loss"] < first["loss"]


def test_train_writes_the_same_with_and_without_graphs(on_gpu, tmp_path):
    given = ["--model", "cnn", "--thin", "0.1", "--dataset", "digits", "--epochs", "2"]
    paths = [tmp_path / f"{flag}.safetensors" for flag in ("--cuda-graphs", "--no-cuda-graphs")]
    for path in paths:
        on_gpu("train", *given, path.stem, "-o", path)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_network_is_masked_finetuned_applied_verified_and_reported(
    on_gpu, prune, dense, tmp_path
):
    mask, sparse, cut = (tmp_path / f"{name}.safetensors" for name in ("m", "s", "c"))
    on_gpu("mask", dense, "--method", "snip", "--density", "0.1", "-o", mask)
    on_gpu("finetune", dense, "--mask", mask, "--epochs", "2", "-o", sparse)
    kept, file = read_mask(mask)
    tensors = load_file(sparse)
    assert file.meta["kept"] == round(0.1 * file.meta["total"])
    for name, bits in kept.items():
        assert not tensors[name][~bits].view(torch.int32).any()
    assert prune("apply", dense, "--mask", mask, "-o", cut).code == 0
    result = tmp_path / "r.json"
    on_gpu("eval", sparse, "--mask", mask, "-o", result)
    assert json.loads(result.read_text())["top1"] > 80
    assert prune("verify", sparse, "--mask", mask).code == 0
    for path in (dense, mask, sparse, cut):
        assert prune("inspect", path).code == 0
    assert prune("report", result).code == 0


@pytest.mark.parametrize("method", METHODS)
def test_score_ranks_every_weight(on_gpu, dense, tmp_path, method):
    output = tmp_path / "s.safetensors"
    on_gpu("score", dense, "--method", method, *QUICK.get(method, []), "-o", output)
    scores, weights = load_file(output), load_file(dense)
    assert sorted(scores) == sorted(open_artifact(dense, "checkpoint").meta["prunable"])
    for name, score in scores.items():
        assert score.shape == weights[name].shape
        assert bool(score.isfinite().all())
        assert method == "nonzero" or score.unique().numel() > 1


@pytest.mark.parametrize("method", OF_NETWORKS)
def test_mask_keeps_what_was_asked_for(on_gpu, dense, tmp_path, method):
    output = tmp_path / "m.safetensors"
    how = ["--method", method, "--density", "0.05", *QUICK.get(method, [])]
    on_gpu("mask", dense, *how, "-o", output)
    kept, file = read_mask(output)
    assert file.meta["rounds"] == (100 if method == "synflow" else 1)
    total = sum(bits.numel() for bits in kept.values())
    assert sum(int(bits.sum()) for bits in kept.values()) == round(0.05 * total)


def test_mask_in_rounds_scores_what_is_left_each_time(on_gpu, dense, tmp_path):
    output = tmp_path / "m.safetensors"
    how = ["--method", "snip", "--density", "0.02", "--rounds", "5"]
    on_gpu("mask", dense, *how, "-o", output)
    assert read_mask(output)[1].meta["rounds"] == 5


def test_eval_measures_speed_if_asked_and_says_the_same_again_otherwise(on_gpu, dense, tmp_path):
    paths = [tmp_path / f"{name}.json" for name in ("a", "b", "fast")]
    for path, flags in zip(paths, ([], [], ["--throughput"]), strict=True):
        on_gpu("eval", dense, *flags, "-o", path)
    one, again, fast = (json.loads(path.read_text()) for path in paths)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert one["images_per_second"] is None
    assert fast["images_per_second"] > 0
    assert {**fast, "images_per_second": None} == one == again


def test_what_a_gpu_wrote_evaluates_alike_without_one(on_gpu, prune, dense, tmp_path):
    here, there = tmp_path / "gpu.json", tmp_path / "cpu.json"
    on_gpu("eval", dense, "--precision", "fp32", "-o", here)
    how = ["--precision", "fp32", "--device", "cpu"]
    assert prune("eval", dense, *how, "-o", there).code == 0
    ours, theirs = (json.loads(path.read_text()) for path in (here, there))
    one = 100 / 355  # percent
    assert ours["top1"] == pytest.approx(theirs["top1"], abs=1.1 * one)
    assert ours["top5"] == pytest.approx(theirs["top5"], abs=1.1 * one)
    assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)


def test_a_training_that_was_stopped_on_a_gpu_is_not_resumed_on_a_cpu(
    on_gpu, prune, only_gpu, stopped_at, tmp_path
):
    output = tmp_path / "t.safetensors"
    how = ["train", "--model", "cnn", "--dataset", "digits", "--epochs", "2", "-o", output]
    with stopped_at(5):
        prune(*how, "--precision", "fp32", "--device", NAME)
        raise KeyboardInterrupt  # `prune` takes it for an end like others
    refused = prune(*how, "--precision", "fp32", "--device", "cpu", "--resume")
    assert (refused.code, "device" in refused.err) == (4, True), refused.err
    on_gpu(*how, "--precision", "fp32", "--resume")
