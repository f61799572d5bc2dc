"""Trainings under a straight-through pruner: what trains, what is seen, and what is saved."""

from statistics import NormalDist

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from prunecli.data.digits import digits
from prunecli.files.artifacts import open_artifact, read_mask
from prunecli.images.batches import ImageBatches
from prunecli.network.build import load_model
from prunecli.pruners._straight import StraightThrough
from prunecli.runtime.device import put_on
from prunecli.settings.data import DataSettings
from prunecli.settings.run import RunOptions
from prunecli.settings.train import ModelSettings, TrainingSettings
from prunecli.steps.train import train
from prunecli.training import loop

CPU = torch.device("cpu")
EPOCHS, STEPS = 3, 12
OPTIONS = {
    "fixed-ga": {"density": 0.3, "least": 200},
    "fixed-bs": {"density": 0.3, "least": 200},
    "adaptive": {"density": 0.3, "least": 200, "rate": 0.1},
}
NAMES = list(OPTIONS)
MORE = {
    "without ste": ("fixed-bs", {"ste": False}),
    "recentred": ("fixed-ga", {"recenter": True}),
    "hinge": ("adaptive", {"mode": "hinge"}),
    "unconstr": ("adaptive", {"mode": "unconstr", "density": None, "weighting": "flops"}),
    "gauss": ("adaptive", {"estimate": "gauss", "recenter": True}),
    "both": ("adaptive", {"flops": 0.95, "mode": "hinge", "ste": False}),
}


@pytest.fixture
def how(tiny):
    """`how(pruner, options, resume, evaluated)`: the options of a training."""

    def make(name, options=None, *, resume=False, evaluated=False):
        return TrainingSettings(
            model=ModelSettings(tiny),
            data=DataSettings("digits", {"fraction": 0.1}),
            pruner=name,
            pruner_options=OPTIONS[name] | (options or {}),
            given={"epochs": EPOCHS, "batch_size": 36, "precision": "fp32"},
            resume=resume,
            eval_every_epoch=evaluated,
        )

    return make


def written(checkpoint):
    """The bytes of the checkpoint, the mask and the log."""
    return [
        checkpoint.with_name(f"t.{end}").read_bytes()
        for end in ("safetensors", "mask.safetensors", "log.jsonl")
    ]


# What trains


@pytest.mark.parametrize("ste", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_without_the_estimator_what_is_pruned_gets_no_gradient_of_the_task(begin, name, ste):
    run = begin(name, 1, **OPTIONS[name], ste=ste)
    seen, real = [], run.pruner.weights

    def weights(params, clock):
        seen.append({n: w.detach() == 0 for n, w in real(params, clock).items()})
        return real(params, clock)

    def look(params, clock):
        for layer, pruned in seen[-1].items():
            slopes = params[layer].grad
            assert 0.2 < pruned.float().mean() < 0.9
            assert slopes[~pruned].count_nonzero() > 0.5 * (~pruned).sum()  # some units are dead
            gone = slopes[pruned].count_nonzero()
            assert gone > 0.5 * pruned.sum() if ste else gone == 0

    run.pruner.weights, run.pruner.observe = weights, look
    run.go()
    assert len(seen) == 4


@pytest.mark.parametrize("name", NAMES)
def test_pruned_weights_stay_what_they_are_until_the_last_step(begin, name):
    run = begin(name, EPOCHS, **OPTIONS[name])

    def look(step):
        zeros = sum(int((w == 0).sum()) for w in run.state.params.values())
        mask = run.mask()
        if step < STEPS:
            assert (zeros, mask) == (0, {})
        else:
            assert mask.keys() == {"3.weight", "6.weight"}
            assert zeros == sum(int((~kept).sum()) for kept in mask.values()) > 500

    run.go(look)
    assert run.state.step == STEPS


# What is seen


QUARTER = {"density": 0.25}  # 54 of 216 and 216 of 864: no other number is within eps


def smallest(weight, part):
    """The magnitude that is the first after that part of them."""
    return weight.abs().flatten().sort().values[round(part * weight.numel())]


BOUNDS = {
    "fixed-ga": lambda weight, b: NormalDist().inv_cdf(0.875) * weight.std(),
    "fixed-bs": lambda weight, b: smallest(weight, 0.75),
    "adaptive": lambda weight, b: b * weight.std(),
}


def thresholded(run, name):
    """The weights of the large layers, those below thresholds zero that are worked out anew."""
    seen, b = {}, [each for own in run.pruner.parameters() for each in own.tolist()]
    for layer, own in zip(["3.weight", "6.weight"], b or [None, None], strict=True):
        weight = run.state.params[layer].detach()
        small = weight.abs() < BOUNDS[name](weight, own)
        seen[layer] = torch.where(small, 0.0, weight)
    return seen


def loss_on(model, weights, data):
    inputs, labels = next(iter(ImageBatches(data, CPU, 500).plain()))
    model.eval()  # training sets it back with every epoch
    with torch.no_grad():
        return F.cross_entropy(functional_call(model, weights, (inputs,)), labels).item()


@pytest.mark.parametrize("name", NAMES)
def test_every_epoch_is_evaluated_with_the_weights_above_the_thresholds(begin, name):
    run, expected, dense, kept = begin(name, EPOCHS, **OPTIONS[name] | QUARTER), [], [], []
    data = run.images.data

    def look():
        if run.state.step % 4 == 0 and run.state.step // 4 > len(expected):
            seen = {} if run.mask() else thresholded(run, name)
            expected.append(loss_on(run.model, seen, data))
            dense.append(loss_on(run.model, {}, data))
            kept.append(sum(int((w != 0).sum()) for w in seen.values()))
        return False

    batches = ImageBatches(data, CPU, 36)
    test = ImageBatches(data, CPU, 500)
    saving = loop.Saving(interrupted=look)
    loop.train(run.state, batches, run.settings, 0, test=test, saving=saving)
    rows = run.state.history
    assert [row["test_loss"] for row in rows] == pytest.approx(expected, rel=1e-5)
    densities = [(each + 260) / 1340 for each in kept[:2]]
    assert [row["density"] for row in rows[:2]] == pytest.approx(densities, abs=1e-12)
    assert all(abs(a - b) > 1e-3 for a, b in zip(expected[:2], dense[:2], strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_evaluating_every_epoch_does_not_change_the_training(how, tmp_path, name):
    plain, looked = (
        train(how(name, evaluated=each), RunOptions(output=tmp_path / str(each) / "t.safetensors"))
        for each in (False, True)
    )
    one, other = load_file(plain), load_file(looked)
    assert [n for n in one if one[n].numpy().tobytes() != other[n].numpy().tobytes()] == []
    assert written(plain)[1] == written(looked)[1]
    rows, more = (open_artifact(path, "checkpoint").meta["history"] for path in (plain, looked))
    assert [row | {"top1": 0, "test_loss": 0} for row in rows] == [
        row | {"top1": 0, "test_loss": 0} for row in more
    ]
    assert "top1" in more[0]
    assert "top1" not in rows[0]


# What is saved


@pytest.mark.parametrize("case", [*NAMES, "without ste", "recentred", "unconstr", "gauss"])
def test_read_back_the_network_is_to_the_bit_the_one_that_was_trained(
    how, tmp_path, monkeypatch, case
):
    """That of the last forward pass that saw thresholds, once the last step was taken."""
    name, options = MORE.get(case, (case, {}))
    images = ImageBatches(digits(tmp_path, "test"), CPU, 500)
    inputs, _ = next(iter(images.plain()))
    states, before, real, mask_now = [], [], loop.train, StraightThrough.final_mask

    def remember(state, *args, **kwargs):
        states.append(state)
        real(state, *args, **kwargs)

    def materialise(pruner):
        model = states[0].model.eval()
        weights = pruner.weights(states[0].params, states[0].clock(EPOCHS))
        assert len(weights) == 2
        before.append(functional_call(model, weights, (inputs,)))
        return mask_now(pruner)

    monkeypatch.setattr(loop, "train", remember)
    monkeypatch.setattr(StraightThrough, "final_mask", materialise)
    output = train(how(name, options), RunOptions(output=tmp_path / "t.safetensors", seed=3))
    file = open_artifact(output, "checkpoint")
    logits = put_on(load_model(file), CPU).eval()(inputs)
    assert torch.equal(logits.view(torch.int32), before[0].view(torch.int32))
    assert logits.std() > 1e-3
    mask, _ = read_mask(tmp_path / "t.mask.safetensors")
    tensors = load_file(output)
    assert mask.keys() == {"3.weight", "6.weight"}
    for layer, kept in mask.items():
        assert not tensors[layer][~kept].view(torch.int32).any()
        assert tensors[layer][kept].all()
    kept = 260 + sum(int(bits.sum()) for bits in mask.values())
    assert file.meta["history"][-1]["density"] == pytest.approx(kept / 1340, abs=1e-12)
    assert file.meta["density"]["overall"] == pytest.approx(kept / 1340, abs=1e-12)


@pytest.mark.parametrize("case", MORE)
def test_stopped_within_an_epoch_or_between_two_it_ends_in_the_same_bytes(
    how, tmp_path, stopped_at, case
):
    name, options = MORE[case]
    whole = train(how(name, options), RunOptions(output=tmp_path / "whole" / "t.safetensors"))
    output = tmp_path / "t.safetensors"
    for stop in (5, 8):
        with stopped_at(stop):
            train(how(name, options, resume=True), RunOptions(output=output))
        assert not output.exists()
    train(how(name, options, resume=True), RunOptions(output=output))
    assert written(output) == written(whole)


# The paper's diagnosis


def normalised(seed):
    def build(shape, classes):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(shape[0], 8, 5, stride=3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(),
            nn.Linear(512, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, classes),
        )  # fmt: skip

    return build


@pytest.mark.parametrize("seed", range(3))
def test_a_gaussian_threshold_comes_nearer_to_its_sparsity_with_the_estimator(begin, seed):
    """Asked for 85%, 85.6 with and 93.2 without in section 3.3.3: weights form two humps."""
    settings, missed = {"lr": 0.05, "weight_decay": 5e-3}, {}
    for ste in (True, False):
        run = begin(
            "fixed-ga", 15, build=normalised(seed), density=0.15, ste=ste, settings=settings
        )
        run.go()
        missed[ste] = abs(0.85 - (~run.mask()["4.weight"]).float().mean().item())
    assert missed[True] < 0.05
    assert missed[False] > missed[True] + 0.02
