import math

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad
from torch.nn import functional as F

from prunecli.errors import BadUsage
from prunecli.network.layers import prunable
from prunecli.scorers.fisher import fisher


class Data:
    def __init__(self, sizes):
        draw = torch.Generator().manual_seed(1)
        self.batches = [
            (torch.randn(n, 2, 4, 4, generator=draw), torch.randint(3, (n,), generator=draw))
            for n in sizes
        ]

    def __iter__(self):
        return iter(self.batches)

    def per_class(self, count):
        draw = torch.Generator().manual_seed(count)
        return torch.randn(3 * count, 2, 4, 4, generator=draw), torch.arange(3 * count) % 3


def network():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3)
    )
    model[1].running_mean.uniform_(-1, 1)
    return model.eval()


def by_loops(model, batches):
    """Image by image, weight by weight: the mean of the squared gradient, times w^2."""
    weights = {name: w.detach() for name, w in prunable(model).items()}

    def loss(params, image, label):
        return F.cross_entropy(functional_call(model, params, (image[None],)), label[None])

    squares = {name: [0.0] * w.numel() for name, w in weights.items()}
    images = [pair for x, y in batches for pair in zip(x, y, strict=True)]
    for image, label in images:
        for name, g in grad(loss)(weights, image, label).items():
            for k, value in enumerate(g.flatten().tolist()):
                squares[name][k] += value**2 / len(images)
    return {
        name: torch.tensor(squares[name]).reshape(w.shape) * w**2 for name, w in weights.items()
    }


@pytest.mark.parametrize("sizes", [[6], [6, 2, 3]])
def test_equals_the_loop_over_images(sizes):
    model, data = network(), Data(sizes)
    scores, slow = fisher(model, data, batches=len(sizes)), by_loops(model, data.batches)
    assert scores.keys() == slow.keys()
    for name in slow:
        torch.testing.assert_close(scores[name], slow[name], rtol=1e-4, atol=1e-9)
        assert (scores[name] >= 0).all() and (scores[name] > 0).any()


def test_per_class_takes_its_own_batch():
    model, data = network(), Data([6])
    slow = by_loops(model, [data.per_class(2)])
    for name, score in fisher(model, data, per_class=2).items():
        torch.testing.assert_close(score, slow[name], rtol=1e-4, atol=1e-9)


def test_squares_come_before_the_mean():
    # Equal logits: the two images' gradients are (-x/2, x/2) and (x/2, -x/2) and cancel.
    model = nn.Linear(1, 2, bias=False)
    nn.init.constant_(model.weight, 3.0)
    data = [(torch.full((2, 1), 4.0), torch.tensor([0, 1]))]
    assert fisher(model, data)["weight"].flatten().tolist() == pytest.approx([4 * 9, 4 * 9])


def test_by_hand():
    # Image 1: logits (1, 0), label 0; image 2: logits (2, 0), label 1.
    model = nn.Linear(1, 2, bias=False)
    model.weight.data = torch.tensor([[1.0], [0.5]])
    data = [(torch.tensor([[2.0], [4.0]]), torch.tensor([0, 1]))]
    one = (2 / (1 + math.exp(1))) ** 2
    two = (4 / (1 + math.exp(-2))) ** 2
    mean = (one + two) / 2
    assert fisher(model, data)["weight"].flatten().tolist() == pytest.approx([mean, mean / 4])


def test_no_batch_at_all_is_bad_usage():
    with pytest.raises(BadUsage, match="batches=0"):
        fisher(network(), Data([6]), batches=0)
