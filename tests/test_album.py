"""Other people's modules: each network of the album goes all the way, or is refused with a reason.

What is counted on here is what plain torch says of the same network.
"""

import json
import warnings

import album
import pytest
import torch
from album import BUILDERS, PER_CLASS
from torch import nn
from torch.nn import functional as F

from prunecli.errors import BadInput, Mismatch
from prunecli.files.artifacts import open_artifact, read_mask
from prunecli.images.batches import ScoringBatches
from prunecli.network.build import load_model
from prunecli.network.layers import prunable
from prunecli.network.modules import fill
from prunecli.network.untouched import untouched
from prunecli.plugins.names import names
from prunecli.plugins.resolve import resolve
from prunecli.plugins.trust import trust
from prunecli.runtime.device import put_on
from prunecli.scoring.by_network import network_scores
from prunecli.scoring.scored import Scored
from prunecli.settings.data import DataSettings
from prunecli.settings.eval import EvalSettings
from prunecli.settings.mask import MaskSettings
from prunecli.settings.run import RunOptions
from prunecli.settings.scoring import ScoringSettings
from prunecli.settings.train import ModelSettings, TrainingSettings
from prunecli.steps.apply import apply
from prunecli.steps.eval import evaluation
from prunecli.steps.mask import mask
from prunecli.steps.train import train

REFUSED = {
    "all_frozen": "nothing to train: every parameter is frozen",
    "aux": "gives tuple, not a tensor of scores",
    "bfloat16": "does not take 1x8x8 images",
    "bilinear": "cannot be trained .*same dtype",
    "double": "does not take 1x8x8 images",
    "extra_dict": "'_extra_state' of its state is not a tensor",
    "gives_dict": "gives dict, not a tensor of scores",
    "gives_more_rows": "it makes .1, 3, 1., not 3 classes",
    "gives_numbers": "it makes .1., not 3 classes",
    "gives_tuple": "gives tuple, not a tensor of scores",
    "no_layer": "no weight of Conv, Linear",
    "no_parameter": "no weight of Conv, Linear",
    "overwrites": "cannot be trained .*modified by an inplace operation",
    "scripted": "torch.jit hides its layers",
}
WORK = [name for name in BUILDERS if name not in REFUSED and name != "fails"]
BY_FLOW = {"activation", "lookahead", "synflow"}
"""They follow what flows through a network, and refuse those where they cannot."""
SCORERS = {name: resolve("scorers", name, by_file=False) for name in names("scorers")}
METHODS = [name for name, scorer in SCORERS.items() if scorer.takes_model]
FEW = {"per_class": 2}
QUICK = {"obd": {"probes": 2, "batches": 1}, "grasp": FEW, "grasp-thesis": FEW}
SOURCE = DataSettings("album:images")
PRUNERS = {
    "adaptive": {"density": 0.5, "least": 2},
    "fixed-bs": {"density": 0.5, "least": 2},
    "fixed-ga": {"density": 0.5, "least": 2},
    "gmp": {"beta": 0.2, "gamma": 10.0},
    "gradual": {"density": 0.5, "method": "snip"},
    "rigl": {"density": 0.5, "every": 1},
    "set": {"density": 0.5, "every": 1},
    "weightmom": {"density": 0.5, "window": 1, "start": 1, "every": 1},
}


@pytest.fixture(autouse=True)
def _ours():
    trust(["album"])


def start(name, path, epochs=1, **more):
    model = ModelSettings(f"album:{name}")
    said = TrainingSettings(model=model, data=SOURCE, given={"epochs": epochs}, **more)
    return train(said, RunOptions(output=path, seed=0))


def shown():
    """Those of the test set, as a network is given them."""
    given = album.images(None, "test")
    return (given.images.float() / 255 - 0.5).div(0.25).permute(0, 3, 1, 2), given.labels


def loaded(path):
    return load_model(open_artifact(path, "checkpoint")).eval()


SLOW = {"compiled"}
"""Torch's compiler takes ten seconds to load."""


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in WORK]
)
def test_it_is_trained_scored_pruned_and_evaluated_as_torch_alone_would(name, tmp_path):
    dense = start(name, tmp_path / "dense.safetensors")
    _check_loss(dense)
    _check_scores(dense)
    bits = mask(
        dense,
        MaskSettings(density=0.5, scoring=ScoringSettings("magnitude")),
        RunOptions(output=tmp_path / "m.safetensors"),
    )
    _check_loss(apply(dense, bits, RunOptions(output=tmp_path / "sparse.safetensors")))
    tuned = train(
        TrainingSettings(checkpoint=dense, mask=bits),
        RunOptions(output=tmp_path / "tuned.safetensors"),
    )
    kept, weights = read_mask(bits)[0], prunable(loaded(tuned))
    assert sum(int(k.sum()) for k in kept.values()) * 2 == pytest.approx(
        sum(k.numel() for k in kept.values()), abs=1
    )
    assert all(not weights[each][~kept[each]].any() for each in kept)


def _check_loss(checkpoint):
    output = checkpoint.with_suffix(".json")
    evaluation(checkpoint, EvalSettings(data=SOURCE, precision="fp32"), RunOptions(output=output))
    images, labels = shown()
    with torch.no_grad():
        expected = F.cross_entropy(loaded(checkpoint)(images), labels).item()
    assert json.loads(output.read_text())["loss"] == pytest.approx(expected, abs=1e-5)


def _check_scores(checkpoint):
    model, given = put_on(loaded(checkpoint), torch.device("cpu")), album.images(None, "train")
    batches = ScoringBatches((1, 8, 8), lambda: given, torch.device("cpu"), 16, 0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    scored = {}
    for method in METHODS:
        scorer = SCORERS[method].bound(QUICK.get(method, {}))
        try:
            scored[method] = network_scores(scorer, model, batches, {}, 0, "album")
        except Mismatch as error:
            assert method in BY_FLOW, error
            continue
        for name, weight in prunable(model).items():
            assert scored[method][name].shape == weight.shape
            assert scored[method][name].isfinite().all()
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    _check_snip(model, scored["snip"], batches)


def _check_snip(model, scores, batches):
    """By `backward`, on a network all of which is to be trained."""
    needs = {parameter: parameter.requires_grad for parameter in model.parameters()}
    model.requires_grad_(True)
    images, labels = next(iter(batches))
    F.cross_entropy(model(images), labels).backward()
    for name, weight in prunable(model).items():
        slope = torch.zeros_like(weight) if weight.grad is None else weight.grad
        torch.testing.assert_close(scores[name], (weight * slope).abs().detach())
    for parameter, need in needs.items():
        parameter.requires_grad_(need).grad = None


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_with_the_reason(name, tmp_path):
    with pytest.raises(Mismatch, match=REFUSED[name]) as refused:
        start(name, tmp_path / "x.safetensors")
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.glob("x*"))


@pytest.mark.slow
@pytest.mark.parametrize("pruner", PRUNERS)
@pytest.mark.parametrize("name", WORK)
def test_it_is_pruned_while_it_is_trained(name, pruner, tmp_path):
    more = {"pruner": pruner, "pruner_options": PRUNERS[pruner]}
    try:
        made = start(name, tmp_path / "x.safetensors", **more)
    except Mismatch as error:
        assert name == "data_parallel" and "stateless" in str(error)
    else:
        _check_loss(made)


@pytest.mark.parametrize("pruner", ["gradual", "gmp", "rigl"])
def test_what_is_frozen_is_pruned_but_not_trained(pruner, tmp_path):
    torch.manual_seed(0)
    more = {"pruner": pruner, "pruner_options": PRUNERS[pruner]}
    dense = start("frozen", tmp_path / "dense.safetensors", epochs=0)
    made = start("frozen", tmp_path / "x.safetensors", **more)
    before, after = (prunable(loaded(path))["stem.weight"] for path in (dense, made))
    assert torch.equal(after, before.where(after != 0, 0.0))
    assert after.count_nonzero() < after.numel()
    assert not after.requires_grad


def test_a_network_that_loads_weights_while_it_is_built_says_nothing(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        loaded(start("loads_weights", tmp_path / "dense.safetensors"))


def test_a_network_that_cannot_be_built_any_more_says_why(tmp_path, monkeypatch):
    dense = start("real_numbers", tmp_path / "dense.safetensors", epochs=0)
    monkeypatch.setattr(album, "real_numbers", album.fails)
    with pytest.raises(BadInput, match="or the model has changed since .RuntimeError: no network"):
        Scored(open_artifact(dense, "checkpoint"), ScoringSettings("snip"), RunOptions())


@pytest.mark.parametrize("inplace", [False, True])
def test_twice_differentiated_hardsigmoid_is_what_it_is_made_of(inplace):
    class Written(nn.Module):
        def forward(self, x):
            return (x + 3).clamp(0, 6) / 6

    one = album.Net((1, 8, 8), 3, nn.Sequential(nn.Conv2d(4, 4, 1), nn.Hardsigmoid(inplace)))
    other = album.Net((1, 8, 8), 3, nn.Sequential(nn.Conv2d(4, 4, 1), Written()))
    _check_same_curvature(one, other)


def test_twice_differentiated_attention_is_what_it_is_made_of(monkeypatch):
    def attention(q, k, v):
        return (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1) @ v

    class Written(album.Sdpa):
        def forward(self, x):
            with monkeypatch.context() as patch:
                patch.setattr(F, "scaled_dot_product_attention", attention)
                return super().forward(x)

    _check_same_curvature(album.Sdpa((1, 8, 8), 3), Written((1, 8, 8), 3))


def _check_same_curvature(one, other):
    fill(other, one.state_dict())
    given = album.images(None, "train")
    batches = ScoringBatches((1, 8, 8), lambda: given, torch.device("cpu"), 16, 0)
    for method, options in (("obd", {"hessian": "exact", "batches": 1}), ("grasp", FEW)):
        scorer = SCORERS[method].bound(options)
        scores, expected = (network_scores(scorer, m, batches, {}, 0, "x") for m in (one, other))
        for name in scores:
            size = float(expected[name].abs().max())
            assert size > 0
            torch.testing.assert_close(scores[name], expected[name], rtol=1e-3, atol=1e-4 * size)


def test_a_look_leaves_buffers_that_are_not_saved_as_they_were():
    class Counts(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(1, 1)
            self.register_buffer("count", torch.zeros(1), persistent=False)
            self.register_buffer("last", torch.zeros(1), persistent=False)

        def forward(self, x):
            self.count += 1
            self.last = x
            return self.layer(x)

    model = Counts()
    last = model.last
    with untouched(model):
        model(torch.ones(1))
    assert model.count == 0
    assert model.last is last


def test_every_class_is_there():
    assert album.images(None, "train").labels.bincount().tolist() == [PER_CLASS] * 3
