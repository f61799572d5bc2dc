import pytest
import torch
from torch import nn
from torch.nn import functional as F

from prunecli.errors import BadUsage
from prunecli.network.layers import prunable
from prunecli.scorers.snip import snip
from prunecli.scorers.snip_thesis import snip_thesis


class Data:
    def __init__(self, batches=1):
        draw = torch.Generator().manual_seed(1)
        self.batches = [
            (torch.randn(8, 5, generator=draw), torch.randint(3, (8,), generator=draw))
            for _ in range(batches)
        ]

    def __iter__(self):
        return iter(self.batches)

    def per_class(self, count):
        draw = torch.Generator().manual_seed(count)
        return torch.randn(3 * count, 5, generator=draw), torch.arange(3 * count) % 3


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 3))


def reference(model, batches):
    """|g| over its sum, g by one ordinary backward pass of the mean loss."""
    model.zero_grad()
    for inputs, labels in batches:
        (F.cross_entropy(model(inputs), labels) / len(batches)).backward()
    size = {name: w.grad.abs() for name, w in prunable(model).items()}
    total = sum(each.sum() for each in size.values())
    model.zero_grad()
    return {name: each / total for name, each in size.items()}


@pytest.mark.parametrize("count", [1, 3])
def test_equals_a_backward_pass(count):
    model, data = network(), Data(count)
    expected = reference(model, data.batches)
    scores = snip_thesis(model, data, batches=count, init="own")
    assert scores.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(scores[name], expected[name], rtol=1e-5, atol=1e-9)


def test_per_class_takes_its_own_batch():
    model, data = network(), Data()
    expected = reference(model, [data.per_class(4)])
    for name, score in snip_thesis(model, data, per_class=4, init="own").items():
        torch.testing.assert_close(score, expected[name], rtol=1e-5, atol=1e-9)


def test_by_hand():
    # p = softmax(1, 0); the gradient is (-q, -2q) and (q, 2q), which sums to 6q in magnitude.
    model = nn.Linear(2, 2, bias=False)
    model.weight.data = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    data = [(torch.tensor([[1.0, 2.0]]), torch.tensor([0]))]
    scores = snip_thesis(model, data, init="own")["weight"]
    assert scores.tolist() == [pytest.approx([1 / 6, 1 / 3])] * 2


def test_adds_up_to_1_over_all_layers():
    scores = snip_thesis(network(), Data())
    assert float(sum(each.double().sum() for each in scores.values())) == pytest.approx(1, rel=1e-6)
    assert all(each.min() >= 0 for each in scores.values())


def test_scores_weights_drawn_anew_by_default():
    data = Data()
    ours, theirs = network(), network()
    with torch.no_grad():
        for weight in prunable(theirs).values():
            weight += 0.1
    one, two = snip_thesis(ours, data, seed=3), snip_thesis(theirs, data, seed=3)
    assert all(torch.equal(one[name], two[name]) for name in one)
    other = snip_thesis(network(), data, seed=4)
    own = snip_thesis(network(), data, init="own")
    for name in one:
        assert not torch.allclose(one[name], other[name])
        assert not torch.allclose(one[name], own[name])


def test_a_weight_that_is_zero_is_scored_by_its_gradient():
    model = network()
    with torch.no_grad():
        model[2].weight[0, 0] = 0
        model[2].bias.fill_(1)  # so that its unit is awake
    assert snip_thesis(model, Data(), init="own")["2.weight"][0, 0] > 0
    assert snip(model, Data())["2.weight"][0, 0] == 0


def test_not_blind_to_rescaling_between_relu_layers():
    # Incoming weights times 8, outgoing ones over 8: their gradients go the other way.
    model, data = network(), Data()
    before = snip_thesis(model, data, init="own")
    with torch.no_grad():
        model[0].weight *= 8
        model[0].bias *= 8
        model[2].weight /= 8
    after = snip_thesis(model, data, init="own")
    alive = before["0.weight"] > 0
    ratio = float(after["4.weight"].sum() / before["4.weight"].sum())  # of the sums of |g|
    torch.testing.assert_close(after["0.weight"][alive], before["0.weight"][alive] * ratio / 8)
    alive = before["2.weight"] > 0
    torch.testing.assert_close(after["2.weight"][alive], before["2.weight"][alive] * ratio * 8)


def test_ranks_otherwise_than_snip():
    def top_half(scores):
        flat = torch.cat([each.detach().flatten() for each in scores.values()])
        return set(flat.argsort(descending=True, stable=True)[: len(flat) // 2].tolist())

    model, data = network(), Data()
    theirs, ours = top_half(snip(model, data)), top_half(snip_thesis(model, data, init="own"))
    assert len(theirs - ours) == len(ours - theirs) >= 3


def test_no_batch_at_all_is_bad_usage():
    with pytest.raises(BadUsage, match="batches=0"):
        snip_thesis(network(), Data(), batches=0)
