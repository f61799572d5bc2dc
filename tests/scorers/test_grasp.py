"""GraSP, and the thesis' reversal of it."""

import copy

import pytest
import torch
from torch import nn
from torch.autograd.functional import hessian, jacobian
from torch.func import functional_call
from torch.nn import functional as F

from prunecli.errors import BadUsage
from prunecli.network.layers import prunable
from prunecli.scorers.grasp import grasp
from prunecli.scorers.grasp_thesis import grasp_thesis


class Data:
    input_shape = (3,)
    asked = None

    def per_class(self, count):
        self.asked = count
        draw = torch.Generator().manual_seed(1)
        images = torch.randn(3 * count, 3, generator=draw, dtype=torch.float64)
        return images, torch.arange(3 * count) % 3


def network(norm=False, seed=0):
    torch.manual_seed(seed)
    middle = [nn.BatchNorm1d(4)] if norm else []
    return nn.Sequential(nn.Linear(3, 4), *middle, nn.Tanh(), nn.Linear(4, 3)).double()


class Halves:
    """The loss GraSP differentiates, as a function of one long vector of weights."""

    def __init__(self, model, data, per_class, temperature, training=True):
        self.model = copy.deepcopy(model).train(training)
        self.weights = {name: w.detach() for name, w in prunable(self.model).items()}
        self.theta = torch.cat([w.flatten() for w in self.weights.values()])
        self.temperature = temperature
        images, labels = data.per_class(per_class)
        middle = len(labels) // 2
        self.halves = [(images[:middle], labels[:middle]), (images[middle:], labels[middle:])]

    def split(self, flat):
        parts = flat.split([w.numel() for w in self.weights.values()])
        return {
            name: part.reshape(w.shape)
            for (name, w), part in zip(self.weights.items(), parts, strict=True)
        }

    def loss(self, flat):
        total = 0
        for images, labels in self.halves:
            logits = functional_call(self.model, self.split(flat), (images,))
            total = total + F.cross_entropy(logits / self.temperature, labels)
        return total

    def gradient(self, flat):
        return jacobian(self.loss, flat)

    def flow(self, flat):
        """g'g."""
        return float(self.gradient(flat).square().sum())

    def scores(self):
        """theta * Hg with every entry of the Hessian."""
        g = self.gradient(self.theta)
        return self.split(self.theta * (hessian(self.loss, self.theta) @ g))


def flat(scores):
    return torch.cat([each.flatten() for each in scores.values()])


@pytest.mark.parametrize(("per_class", "temperature"), [(4, 200.0), (4, 1.0), (3, 2.0)])
def test_equals_the_explicit_hessian(per_class, temperature):
    model, data = network(), Data()
    scores = grasp(model, data, per_class=per_class, temperature=temperature)
    slow = Halves(model, data, per_class, temperature).scores()
    assert scores.keys() == slow.keys()
    for name in slow:
        size = float(slow[name].abs().max())
        torch.testing.assert_close(scores[name], slow[name], rtol=1e-7, atol=1e-9 * size)


@pytest.mark.parametrize("temperature", [0.0, -5.0, float("nan")])
def test_a_temperature_is_above_0(temperature):
    with pytest.raises(BadUsage, match="temperature=.*: it must be above 0"):
        grasp(network(), Data(), temperature=temperature)


def test_ten_images_of_each_class_at_temperature_200_unless_told_otherwise():
    model, data = network(), Data()
    scores = grasp(model, data)
    assert data.asked == 10
    slow = flat(Halves(model, data, 10, 200.0).scores())
    torch.testing.assert_close(flat(scores), slow, rtol=1e-7, atol=1e-9 * float(slow.abs().max()))


def test_hessian_times_gradient_matches_central_differences():
    model, data, step = network(), Data(), 1e-4
    scores = flat(grasp(model, data, per_class=4, temperature=1.0))
    halves = Halves(model, data, 4, 1.0)
    g = halves.gradient(halves.theta)
    up, down = (halves.gradient(halves.theta + sign * step * g) for sign in (1, -1))
    hg = (up - down) / (2 * step)
    torch.testing.assert_close(scores / halves.theta, hg, rtol=1e-5, atol=1e-9)


def test_shrinking_a_weight_changes_the_gradient_flow_by_minus_twice_its_score():
    # theta_j -> (1 - eps) theta_j changes g'g by -2 eps theta_j (Hg)_j.
    model, data, eps = network(), Data(), 1e-5
    scores = flat(grasp(model, data, per_class=4, temperature=1.0))
    halves = Halves(model, data, 4, 1.0)
    for j in range(len(scores)):
        change = torch.zeros_like(halves.theta)
        change[j] = eps * halves.theta[j]
        slope = (halves.flow(halves.theta - change) - halves.flow(halves.theta + change)) / 2
        assert slope == pytest.approx(-2 * eps * float(scores[j]), rel=1e-5, abs=1e-13)


@pytest.mark.parametrize("seed", range(5))
def test_keeping_the_top_half_keeps_more_gradient_flow_than_the_reverse(seed):
    model, data = network(seed=seed), Data()
    halves = Halves(model, data, 4, 1.0)

    def flow_left(scores):
        ranked = flat(scores).argsort(descending=True, stable=True)
        kept = torch.zeros_like(halves.theta)
        kept[ranked[: len(ranked) // 2]] = 1
        return halves.flow(halves.theta * kept)

    ours = flow_left(grasp(model, data, per_class=4, temperature=1.0))
    reversed_ = flow_left(grasp_thesis(model, data, per_class=4, temperature=1.0))
    assert ours > 1.2 * reversed_


def test_the_thesis_has_exactly_the_negative():
    model, data = network(norm=True), Data()
    ours, theirs = grasp(copy.deepcopy(model), data), grasp_thesis(model, data)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], -theirs[name]) for name in ours)


def test_scores_have_both_signs():
    scores = flat(grasp(network(), Data(), per_class=4))
    assert (scores > 0).sum() > 3
    assert (scores < 0).sum() > 3


def test_batch_normalisation_uses_the_statistics_of_each_half():
    data, model = Data(), network(norm=True)
    model[1].running_mean.fill_(0.5)
    model[1].running_var.fill_(3.0)
    slow = flat(Halves(model, data, 4, 1.0).scores())
    frozen = flat(Halves(model, data, 4, 1.0, training=False).scores())
    scores = flat(grasp(model.eval(), data, per_class=4, temperature=1.0))
    torch.testing.assert_close(scores, slow, rtol=1e-7, atol=1e-9 * float(slow.abs().max()))
    assert (scores - frozen).norm() > 0.1 * frozen.norm()


def test_in_place_relu():
    torch.manual_seed(0)
    layers = [nn.Linear(3, 6), nn.Linear(6, 3)]
    one = nn.Sequential(layers[0], nn.ReLU(inplace=True), layers[1]).double()
    two = nn.Sequential(layers[0], nn.ReLU(), layers[1]).double()
    ours, slow = flat(grasp(one, Data())), flat(Halves(two, Data(), 10, 200.0).scores())
    torch.testing.assert_close(ours, slow, rtol=1e-7, atol=1e-9 * float(slow.abs().max()))


def test_nothing_is_left_in_grad():
    model = network()
    grasp(model, Data())
    assert all(parameter.grad is None for parameter in model.parameters())
