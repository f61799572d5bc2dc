import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from prunecli.errors import BadUsage
from prunecli.network.layers import prunable
from prunecli.network.untouched import untouched
from prunecli.scorers.snip import snip


class Data:
    def __init__(self, batches=1, classes=3):
        torch.manual_seed(1)
        self.batches = [(torch.randn(8, 5), torch.randint(classes, (8,))) for _ in range(batches)]

    def __iter__(self):
        return iter(self.batches)

    def per_class(self, count):
        draw = torch.Generator().manual_seed(count)
        return torch.randn(3 * count, 5, generator=draw), torch.arange(3 * count) % 3


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 3))


def by_explicit_gates(model, data):
    """|dL/dc| with real gates c = 1 on every weight, as the paper defines it."""
    weights = prunable(model)
    total = {name: torch.zeros_like(w) for name, w in weights.items()}
    batches = list(data)
    for inputs, labels in batches:
        gates = {name: torch.ones_like(w, requires_grad=True) for name, w in weights.items()}
        gated = {name: gates[name] * w.detach() for name, w in weights.items()}
        loss = F.cross_entropy(functional_call(model, gated, (inputs,)), labels)
        for name, g in zip(gates, torch.autograd.grad(loss, list(gates.values())), strict=True):
            total[name] += g / len(batches)
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


@pytest.mark.parametrize("count", [1, 4])
def test_per_class_takes_its_own_batch(count):
    model, data = network(), Data()
    data.batches = None  # nothing to iterate over
    scores = snip(model, data, per_class=count)
    for name, gates in by_explicit_gates(model, [data.per_class(count)]).items():
        torch.testing.assert_close(scores[name], gates, rtol=1e-5, atol=1e-8)


def test_ranks_like_the_normalised_sensitivity_of_the_paper():
    # |dL/dc_j| / sum_k |dL/dc_k|, the sum over all layers: one order over the whole network.
    model = network().double()
    data = [(inputs.double(), labels) for inputs, labels in Data()]
    gates = by_explicit_gates(model, data)
    total = sum(each.sum() for each in gates.values())
    papers = torch.cat([(each / total).flatten() for each in gates.values()])
    ours = torch.cat([each.detach().flatten() for each in snip(model, data).values()])
    awake = papers > 0
    assert awake.sum() > 50
    assert torch.equal(papers[awake].argsort(stable=True), ours[awake].argsort(stable=True))


def test_xavier_scores_the_weights_it_drew():
    model, data = network(), Data()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    scores = snip(model, data, init="xavier", seed=5)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]) == name.endswith("bias")
    gates = by_explicit_gates(model, data)
    for name in scores:
        torch.testing.assert_close(scores[name], gates[name], rtol=1e-5, atol=1e-8)


def test_xavier_depends_on_the_seed_alone():
    def score(seed, shift):
        model = network()
        with torch.no_grad():
            for weight in prunable(model).values():
                weight += shift
        torch.manual_seed(round(shift))
        return snip(model, Data(), init="xavier", seed=seed)

    one, same, other = score(5, 0.0), score(5, 1.0), score(6, 0.0)
    for name in one:
        assert torch.equal(one[name], same[name])
        assert not torch.allclose(one[name], other[name])


def test_xavier_layers_differ_and_have_the_variance_of_glorot():
    model = nn.Sequential(nn.Linear(200, 100), nn.Linear(100, 200), nn.Conv1d(40, 60, 5))
    data = [(torch.zeros(1, 200), torch.zeros(1, dtype=torch.long))]
    model.forward = lambda x: model[1](model[0](x)) + model[2](x.reshape(1, 40, 5)).sum()
    snip(model, data, init="xavier")
    dense, back, conv = prunable(model).values()
    assert not torch.allclose(dense, back.T)
    for weight, fans in ((dense, 300), (back, 300), (conv, 5 * (40 + 60))):
        assert float(weight.detach().var()) == pytest.approx(2 / fans, rel=0.05)
        assert abs(float(weight.detach().mean())) < 4 * (2 / fans / weight.numel()) ** 0.5


def test_xavier_leaves_zero_what_the_mask_removed_and_nothing_else():
    model, data = network(), Data()
    masked = {name: torch.rand_like(w) < 0.5 for name, w in prunable(model).items()}
    with torch.no_grad():
        for weight in prunable(model).values():  # as a classifier may be initialised
            weight.zero_()
    kept = {name: ~removed for name, removed in masked.items()}
    scores = snip(model, data, init="xavier", mask=kept)
    for name, weight in prunable(model).items():
        assert torch.equal(weight == 0, masked[name])
        assert (scores[name][masked[name]] == 0).all()
    assert sum(int((score > 0).sum()) for score in scores.values()) > 20


def test_a_step_gives_the_weights_back_after_xavier():
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with untouched(model):
        snip(model, Data(), init="xavier")
        assert not torch.equal(model[0].weight, before["0.weight"])
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


def test_no_batch_at_all_is_bad_usage():
    with pytest.raises(BadUsage, match="batches=0"):
        snip(network(), Data(), batches=0)
