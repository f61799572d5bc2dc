import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from prunecli.errors import BadUsage
from prunecli.images.batches import split_off
from prunecli.images.source import Source
from prunecli.network.layers import prunable
from prunecli.pruners.gmp import gmp
from prunecli.settings.data import DataSettings
from prunecli.settings.run import RunOptions
from prunecli.settings.train import ModelSettings, TrainingSettings
from prunecli.steps.train import train
from prunecli.training.course import TrainingSet
from prunecli.types import Clock, Course, Images

CPU = torch.device("cpu")
ALL = 1e30  # a threshold that everything is below


def images(labels, seed=0):
    """Images of 2x2 pixels, each with a first pixel of its own: what comes out tells which it is.

    They are padded and mirrored in training, so that augmentation would show.
    """
    draw = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (len(labels), 2, 2, 1), generator=draw, dtype=torch.uint8)
    pixels[:, 0, 0, 0] = torch.arange(len(labels))
    classes = [str(label) for label in range(max(labels) + 1)]
    return Images(pixels, torch.tensor(labels), classes, [0.0], [1 / 255], pad=1, flip=True)


LABELS = [0] * 24 + [1] * 16 + [2] * 8


class Network(nn.Sequential):
    """With batch normalisation and dropout: in training mode its gradients are others."""

    def __init__(self):
        torch.manual_seed(0)
        super().__init__(
            nn.Conv2d(1, 5, 2), nn.BatchNorm2d(5), nn.Tanh(), nn.Dropout(), nn.Flatten(),
            nn.Linear(5, 3),
        )  # fmt: skip
        self[1].running_mean.fill_(100.0)
        self[1].running_var.fill_(900.0)


def begun(model=None, data=None, epochs=4, seed=0, **options):
    """The pruner, its network and the images that are left to train on."""
    model = model or Network()
    held = TrainingSet(data or images(LABELS), CPU, seed)
    made = Course(model, prunable(model), epochs, seed, _no_scores, held.hold_out, dict, print)
    return gmp(made, **options), model, held


def _no_scores(*arguments):
    raise AssertionError("gmp needs no scores")


def event(pruner, model, epoch=1):
    """An epoch of one step ends; gives the mask."""
    clock = Clock(epoch, 1, 4)
    pruner.update(prunable(model), clock)
    return pruner.mask(prunable(model), clock)


def slow_gradients(model, data):
    """Of the mean cross-entropy over all images at once, worked with a copy in double."""
    copy = Network().double().eval()
    copy.load_state_dict({name: t.double() for name, t in model.state_dict().items()})
    inputs = (data.images.double() / 255 - data.mean[0]) / data.std[0]
    F.cross_entropy(copy(inputs.permute(0, 3, 1, 2)), data.labels).backward()
    return {name: weight.grad for name, weight in prunable(copy).items()}


def middle(tensors):
    """A value that half of the magnitudes are below, and far from each of them."""
    flat = torch.cat([tensor.detach().abs().flatten() for tensor in tensors.values()]).sort().values
    half = len(flat) // 2
    assert flat[half] - flat[half - 1] > 1e-6 * flat[half]
    return float((flat[half - 1] + flat[half]) / 2)


# What goes


@pytest.mark.parametrize("source", ["held-out", "train"])
def test_what_is_small_and_has_a_small_gradient_goes(monkeypatch, source):
    """Against a slow reference: the held-out images, evaluation mode, no augmentation."""
    monkeypatch.setattr("prunecli.training.course.EVAL_BATCH", 5)  # 12 images: the last batch has 2
    _, held = split_off(images(LABELS), 0.25, 0)
    weights, g = prunable(Network()), slow_gradients(Network(), held)
    beta, gamma = middle(weights), middle(g)
    pruner, model, _ = begun(beta=beta, gamma=gamma, fraction=0.25, grad_source=source)
    mask = event(pruner, model)
    below_beta = below_gamma = gone = 0
    for name, weight in weights.items():
        for w, slope, kept in zip(
            weight.flatten().tolist(), g[name].flatten().tolist(), mask[name].flatten(), strict=True
        ):
            below_beta += abs(w) < beta
            below_gamma += abs(slope) < gamma
            gone += abs(w) < beta and abs(slope) < gamma
            assert bool(kept) == (abs(w) >= beta or abs(slope) >= gamma)
    assert 0 < gone < min(below_beta, below_gamma) < 35
    assert pruner.facts() == {
        "below_beta": below_beta / 35, "below_gamma": below_gamma / 35, "pruned_now": gone,
    }  # fmt: skip


def test_the_facts_count_over_what_was_still_there():
    pruner, model, _ = begun(beta=0.2, gamma=ALL)
    first = event(pruner, model)
    left = sum(int(kept.sum()) for kept in first.values())
    assert pruner.facts()["pruned_now"] == 35 - left > 0
    for name, weight in prunable(model).items():
        weight.data[~first[name]] = 0.0
    again = event(pruner, model, 2)
    assert again.keys() == first.keys()
    assert pruner.facts() == {"below_beta": 0, "below_gamma": 1, "pruned_now": 0}
    for weight in prunable(model).values():
        weight.data.fill_(0.1)
    event(pruner, model, 3)
    assert pruner.facts() == {"below_beta": 1, "below_gamma": 1, "pruned_now": left}
    event(pruner, model, 4)
    assert pruner.facts() == {"below_beta": 0, "below_gamma": 0, "pruned_now": 0}


def test_a_weight_at_beta_stays_and_one_below_goes():
    beta = 0.05
    at = torch.tensor(beta)
    below = torch.nextafter(at, torch.tensor(0.0))
    pruner, model, _ = begun(beta=beta, gamma=ALL)
    with torch.no_grad():
        model[5].weight.copy_(torch.stack([at, below, -at, -below, at * 2]).expand(3, 5))
    assert event(pruner, model)["5.weight"][0].tolist() == [True, False, True, False, True]


@pytest.mark.parametrize(("gamma", "goes"), [(0.25, False), (0.25 * (1 + 2**-20), True)])
def test_a_gradient_at_gamma_stays_and_one_below_goes(gamma, goes):
    """Equal logits on inputs of 1, of which three in four are of class 0: g = -1/4 and 1/4."""
    data = Images(torch.ones(16, 1, 1, 1, dtype=torch.uint8), torch.tensor([0] * 12 + [1] * 4),
                  ["a", "b"], [0.0], [1 / 255])  # fmt: skip
    model = nn.Sequential(nn.Flatten(), nn.Linear(1, 2, bias=False))
    nn.init.constant_(model[1].weight, 0.01)
    pruner, _, _ = begun(model, data, beta=0.05, gamma=gamma, fraction=0.5)
    assert event(pruner, model)["1.weight"].flatten().tolist() == [not goes] * 2


@pytest.mark.parametrize("gamma", [ALL, math.inf])
def test_a_gamma_that_all_are_below_is_a_threshold_of_magnitude(gamma):
    pruner, model, _ = begun(beta=0.15, gamma=gamma)
    mask = event(pruner, model)
    for name, weight in prunable(model).items():
        assert torch.equal(mask[name], weight.abs() >= 0.15)
        assert 0 < int(mask[name].sum()) < weight.numel()


@pytest.mark.parametrize("options", [{"beta": 1e-30, "gamma": ALL}, {"beta": ALL, "gamma": 1e-30}])
def test_a_threshold_that_nothing_is_below_prunes_nothing(options):
    pruner, model, _ = begun(**options)
    assert all(kept.all() for kept in event(pruner, model).values())
    assert pruner.facts()["pruned_now"] == 0


def test_what_went_never_comes_back():
    pruner, model, _ = begun(beta=0.15, gamma=ALL)
    first = event(pruner, model)
    with torch.no_grad():
        for weight in prunable(model).values():
            weight.fill_(1.0)
    second = event(pruner, model, 2)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert pruner.facts()["pruned_now"] == 0


@pytest.mark.parametrize(("delta", "epochs"), [(1, [1, 2, 3, 4]), (2, [2, 4]), (3, [3]), (4, [4])])
def test_pruning_takes_place_at_the_end_of_every_deltath_epoch(delta, epochs):
    pruner, model, _ = begun(beta=0.15, gamma=ALL, delta=delta)
    params, pruned, told = prunable(model), [], []
    for step in range(1, 13):  # three steps an epoch
        before = pruner.mask(params, Clock(step, 3, 4))
        pruner.update(params, Clock(step, 3, 4))
        if pruner.mask(params, Clock(step, 3, 4)) is not before:
            pruned.append(step)
        if step % 3 == 0 and pruner.facts():
            told.append(step // 3)
    assert pruned == [3 * epoch for epoch in epochs]
    assert told == epochs


def test_gradients_of_pruned_weights_are_zero_and_the_others_as_they_were():
    pruner, model, _ = begun(beta=0.15, gamma=ALL)
    mask = event(pruner, model)
    for weight in prunable(model).values():
        weight.grad = torch.full_like(weight, 7.0)
    pruner.observe(prunable(model), Clock(2, 1, 4))
    for name, weight in prunable(model).items():
        assert torch.equal(weight.grad, 7.0 * mask[name])


def test_an_event_leaves_network_gradients_modes_and_random_numbers_alone():
    pruner, model, _ = begun(beta=0.15, gamma=ALL)
    model.train()
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 7.0)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    random = torch.get_rng_state()
    event(pruner, model)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert all((p.grad == 7).all() for p in model.parameters())
    assert all(module.training for module in model.modules())
    assert torch.equal(torch.get_rng_state(), random)


# Which images


def places(data):
    return sorted(data.images[:, 0, 0, 0].tolist())


def test_held_out_images_are_not_trained_on_and_no_other_is_missed():
    pruner, _, left = begun(fraction=0.25)
    held = [round(x) for inputs, _ in pruner.data for x in inputs[:, 0, 0, 0].tolist()]
    assert len(held) == 12
    assert sorted([*held, *places(left.data)]) == list(range(48))
    labels = [int(label) for _, batch in pruner.data for label in batch]
    assert [labels.count(label) for label in range(3)] == [6, 4, 2]


def test_with_gradients_of_training_images_all_are_trained_on():
    pruner, _, left = begun(fraction=0.25, grad_source="train")
    seen = [round(x) for inputs, _ in pruner.data for x in inputs[:, 0, 0, 0].tolist()]
    assert len(seen) == 12
    assert places(left.data) == list(range(48))
    held, _, _ = begun(fraction=0.25)
    assert sorted(seen) == sorted(
        round(x) for inputs, _ in held.data for x in inputs[:, 0, 0, 0].tolist()
    )


def test_the_seed_says_which_are_held_out():
    zero, again, one = (places(begun(seed=seed)[2].data) for seed in (0, 0, 1))
    assert zero == again != one


@pytest.mark.parametrize(("source", "steps", "count"), [("held-out", 3, 103), ("train", 4, 143)])
def test_in_a_training_the_held_out_images_are_missing_from_the_epochs(begin, source, steps, count):
    run = begin("gmp", 1, fraction=0.25, grad_source=source)
    run.go()
    assert (run.state.step, len(run.images.data.labels)) == (steps, count)


@pytest.mark.parametrize("source", ["held-out", "train"])
def test_the_test_split_is_never_read(tiny, tmp_path, monkeypatch, source):
    read, load = [], Source.load

    def watched(self, split, *more):
        read.append(split)
        return load(self, split, *more)

    monkeypatch.setattr(Source, "load", watched)
    options = TrainingSettings(
        model=ModelSettings(tiny),
        data=DataSettings("digits", {"fraction": 0.1}),
        pruner="gmp",
        pruner_options={"grad_source": source},
        given={"epochs": 2},
        eval_every_epoch=False,
    )
    train(options, RunOptions(output=tmp_path / "t.safetensors"))
    assert read == ["train"]


# Refusals


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"beta": 0.0}, "beta=0, gamma=0.001: both thresholds must be above 0"),
        ({"beta": -1.0}, "beta=-1"),
        ({"beta": math.nan}, "beta=nan"),
        ({"gamma": 0.0}, "gamma=0: both"),
        ({"gamma": -0.01}, "gamma=-0.01"),
        ({"gamma": math.nan}, "gamma=nan"),
        ({"delta": 0}, "delta=0: it must be from 1 to the 4 epochs"),
        ({"delta": -1}, "delta=-1"),
        ({"delta": 5}, "delta=5"),
        ({"fraction": 0.0}, "fraction=0: it must leave images"),
        ({"fraction": 1.0}, "fraction=1"),
        ({"fraction": 0.001}, "fraction=0.001"),
        ({"fraction": -0.5}, "fraction=-0.5"),
        ({"fraction": 1.5}, "fraction=1.5"),
        ({"fraction": math.nan}, "fraction=nan"),
    ],
)
def test_what_cannot_be_is_refused_before_the_training(options, words):
    with pytest.raises(BadUsage, match=words):
        begun(**options)
