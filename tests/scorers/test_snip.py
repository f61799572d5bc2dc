import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from prunecli.masks import prunable
from prunecli.scorers.snip import snip


class Data:
    def __init__(self, batches=1, classes=3):
        torch.manual_seed(1)
        self.batches = [(torch.randn(8, 5), torch.randint(classes, (8,))) for _ in range(batches)]

    def __iter__(self):
        return iter(self.batches)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 3))


def by_explicit_gates(model, data):
    """|dL/dc| with real gates c = 1 on every weight, as the paper defines it."""
    weights = prunable(model)
    total = {name: torch.zeros_like(w) for name, w in weights.items()}
    for inputs, labels in data:
        gates = {name: torch.ones_like(w, requires_grad=True) for name, w in weights.items()}
        gated = {name: gates[name] * w.detach() for name, w in weights.items()}
        loss = F.cross_entropy(functional_call(model, gated, (inputs,)), labels)
        for name, g in zip(gates, torch.autograd.grad(loss, list(gates.values())), strict=True):
            total[name] += g / len(data.batches)
    return {name: g.abs() for name, g in total.items()}


@pytest.mark.parametrize("batches", [1, 3])
def test_equals_the_gradient_of_explicit_gates(batches):
    model, data = network(), Data(batches)
    scores, gates = snip(model, data, batches=batches), by_explicit_gates(model, data)
    for name in scores:
        torch.testing.assert_close(scores[name], gates[name], rtol=1e-5, atol=1e-8)


def test_only_the_batches_asked_for_count():
    model, data = network(), Data(3)
    one, all_three = snip(model, data, batches=1), snip(model, data, batches=3)
    assert not torch.allclose(one["0.weight"], all_three["0.weight"])


def test_blind_to_rescaling_between_relu_layers():
    model, data = network(), Data()
    before = snip(model, data)
    with torch.no_grad():
        model[0].weight *= 8
        model[0].bias *= 8
        model[2].weight /= 8
    after = snip(model, data)
    for name in before:
        torch.testing.assert_close(after[name], before[name], rtol=1e-4, atol=1e-8)


def test_by_hand():
    # One linear unit pair on x = (1, 2), label 0, zero weights but one: p = softmax(1, 0).
    model = nn.Linear(2, 2, bias=False)
    model.weight.data = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    scores = snip(model, [(torch.tensor([[1.0, 2.0]]), torch.tensor([0]))])["weight"]
    p1 = 1 / (1 + torch.e)
    torch.testing.assert_close(scores, torch.tensor([[p1, 0.0], [0.0, 0.0]]))
