import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from prunecli.errors import BadUsage
from prunecli.network.layers import prunable
from prunecli.scorers.gradient import gradient
from prunecli.scorers.snip import snip


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)).double()


def batches(count):
    draw = torch.Generator().manual_seed(1)
    return [
        (torch.randn(6, 3, generator=draw, dtype=torch.float64), torch.arange(6) % 3)
        for _ in range(count)
    ]


def by_central_differences(model, data, step=1e-6):
    """|w * dL/dw|, each derivative from two evaluations of the mean loss."""

    @torch.no_grad()
    def loss():
        return sum(float(F.cross_entropy(model(x), y)) for x, y in data) / len(data)

    scores = {}
    for name, weight in prunable(model).items():
        flat = weight.data.view(-1)
        scores[name] = torch.zeros_like(flat)
        for k in range(len(flat)):
            own = float(flat[k])
            flat[k] = own + step
            up = loss()
            flat[k] = own - step
            down = loss()
            flat[k] = own
            scores[name][k] = abs(own * (up - down) / (2 * step))
        scores[name] = scores[name].reshape(weight.shape)
    return scores


@pytest.mark.parametrize("count", [1, 3])
def test_equals_central_differences(count):
    model, data = network(), batches(count)
    scores, slow = gradient(model, data, batches=count), by_central_differences(model, data)
    for name in slow:
        torch.testing.assert_close(scores[name], slow[name], rtol=1e-6, atol=1e-9)


def test_by_hand():
    # Weights (1, -2) and (1/2, 0) on x = (1, 2): logits -3 and 1/2, label 0, so dL/dz = (-q, q).
    model = nn.Linear(2, 2, bias=False)
    model.weight.data = torch.tensor([[1.0, -2.0], [0.5, 0.0]])
    scores = gradient(model, [(torch.tensor([[1.0, 2.0]]), torch.tensor([0]))])["weight"]
    q = 1 / (1 + math.exp(-3.5))
    assert scores.tolist() == [pytest.approx([q, 4 * q]), pytest.approx([0.5 * q, 0])]


def test_is_snip_without_another_initialisation():
    model, data = network(), batches(2)
    own, theirs = gradient(model, data, batches=2), snip(model, data, batches=2)
    assert all(torch.equal(own[name], theirs[name]) for name in theirs)


def test_gradients_of_batches_cancel_before_the_magnitude_is_taken():
    model = nn.Linear(1, 2, bias=False)
    nn.init.ones_(model.weight)  # both classes are equally likely: dL/dw = -1/2 and 1/2, or reverse
    data = [(torch.ones(1, 1), torch.tensor([label])) for label in (0, 1)]
    assert gradient(model, data, batches=1)["weight"].tolist() == [[0.5], [0.5]]
    assert gradient(model, data, batches=2)["weight"].tolist() == [[0], [0]]


def test_reads_no_more_batches_than_it_is_asked_for():
    def data():
        yield from batches(2)
        raise AssertionError("a third batch was read")

    assert gradient(network(), data(), batches=2).keys() == {"0.weight", "2.weight"}


def test_no_batch_at_all_is_bad_usage():
    with pytest.raises(BadUsage, match="batches=0"):
        gradient(network(), batches(1), batches=0)
