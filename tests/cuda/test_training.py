"""A training on the GPU comes to the same bytes, however it gets there."""

import pytest
import torch
from on_gpu import NAME, PRUNERS, SMALL, files, pruning, trained
from safetensors.torch import load_file

from prunecli.files.artifacts import open_artifact

pytestmark = pytest.mark.cuda

ADAM = {"optimizer": "adam", "lr": 0.003}
NETWORKS = {
    "plain": SMALL,
    "dropout": {"model": "alexnet", "model_options": {"thin": 0.01}},
    "normalised": {"model": "resnet20", "model_options": {"thin": 0.05}},
    "bf16": SMALL | {"settings": {"precision": "bf16"}},
    "adam": SMALL | {"settings": ADAM},
    "evaluated": SMALL | {"eval_every_epoch": True},
}
CASES = NETWORKS | {name: pruning(name) for name in PRUNERS}
STOPPED = 17
"""Steps; an epoch has 10."""


@pytest.fixture(scope="module")
def whole(device, tmp_path_factory):
    """The files of a training that nothing interrupted, once for each case."""
    folder, done = tmp_path_factory.mktemp("whole"), {}

    def run(case):
        if case not in done:
            done[case] = files(trained(folder / case / "t.safetensors", **CASES[case]))
        return done[case]

    return run


def same(ours, expected):
    assert ours.keys() == expected.keys()
    assert [kind for kind in expected if ours[kind] != expected[kind]] == []


@pytest.mark.parametrize("case", NETWORKS)
def test_the_same_command_trains_to_the_same_bytes_again(whole, tmp_path, case):
    same(files(trained(tmp_path / "t.safetensors", **CASES[case])), whole(case))


@pytest.mark.parametrize("case", CASES)
def test_steps_that_are_not_replayed_come_to_the_same_bytes(whole, tmp_path, case):
    same(files(trained(tmp_path / "t.safetensors", graphs=False, **CASES[case])), whole(case))


@pytest.mark.parametrize("case", CASES)
def test_a_training_stopped_within_an_epoch_ends_in_the_same_bytes(
    whole, stopped_at, tmp_path, case
):
    output = tmp_path / "t.safetensors"
    with stopped_at(STOPPED):
        trained(output, **CASES[case])
    assert open_artifact(tmp_path / "t.state.safetensors", "state").meta["training"]["step"] == 17
    same(files(trained(output, resume=True, **CASES[case])), whole(case))


@pytest.mark.parametrize("case", ["plain", "dropout", "rigl"])
@pytest.mark.parametrize("first", [True, False])
def test_a_training_may_be_stopped_with_graphs_and_resumed_without_or_the_other_way_round(
    whole, stopped_at, tmp_path, case, first
):
    output = tmp_path / "t.safetensors"
    with stopped_at(STOPPED):
        trained(output, graphs=first, **CASES[case])
    ended = trained(output, graphs=not first, resume=True, **CASES[case])
    same(files(ended), whole(case))


@pytest.mark.parametrize("case", ["plain", "dropout", "normalised", "rigl", "adaptive"])
def test_to_save_after_every_step_changes_nothing(whole, tmp_path, case):
    same(files(trained(tmp_path / "t.safetensors", save_every=0, **CASES[case])), whole(case))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_loss_falls_and_weights_and_momentum_stay_float32(stopped_at, tmp_path, precision):
    output = tmp_path / "t.safetensors"
    settings = {"precision": precision, "epochs": 4}
    given = SMALL | {"settings": settings, "eval_every_epoch": True}
    with stopped_at(STOPPED):
        trained(output, **given)
    state = load_file(tmp_path / "t.state.safetensors")
    floats = {name: t.dtype for name, t in state.items() if t.is_floating_point()}
    assert any(name.startswith("optimizer/") for name in floats)
    assert set(floats.values()) == {torch.float32}
    meta = open_artifact(trained(output, resume=True, **given), "checkpoint").meta
    losses = [row["loss"] for row in meta["history"]]
    assert losses[-1] < 0.5 * losses[0]
    assert meta["history"][-1]["top1"] > 70
    assert meta["settings"]["precision"] == precision


def test_bf16_is_what_auto_means(device, tmp_path):
    meta = open_artifact(
        trained(tmp_path / "t.safetensors", settings={"precision": "auto"}, **SMALL), "checkpoint"
    ).meta
    assert meta["device"] == NAME
    if NAME == "cuda" and torch.cuda.get_device_capability() >= (8, 0):
        assert meta["settings"]["precision"] == "bf16"


@pytest.mark.long
def test_a_compiled_training_learns_too(on_gpu, only_gpu, tmp_path):
    output = tmp_path / "t.safetensors"
    given = ["--model", "resnet20", "--thin", "0.1", "--dataset", "digits", "--epochs", "3"]
    on_gpu("train", *given, "--compile", "--no-eval-epochs", "-o", output)
    losses = [row["loss"] for row in open_artifact(output, "checkpoint").meta["history"]]
    assert losses[-1] < 0.8 * losses[0]
