"""The pooling before its linear layers, which is torch's by another name."""

import pytest
import torch
from torch import nn

from prunecli.models.alexnet import alexnet


def same(one, other):
    return torch.allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("sides", "alike"),
    [((32, 32), torch.equal), ((28, 28), torch.equal), ((17, 60), torch.equal),
     ((64, 64), torch.equal), ((224, 224), same), ((80, 33), same), ((8, 30), torch.equal)],
)  # fmt: skip
def test_the_pooling_is_adaptive_pooling_to_the_bit_or_but_for_rounding(sides, alike):
    torch.manual_seed(3)
    model = alexnet((3, *sides), 4, thin=0.01).eval().to(memory_format=torch.channels_last)
    images = torch.randn(2, 3, *sides).contiguous(memory_format=torch.channels_last)
    found = []
    for pool in (model.pool, nn.AdaptiveAvgPool2d(2)):
        model.pool = pool
        logits = model(images)
        found.append([logits, *torch.autograd.grad(logits.square().sum(), model.parameters())])
    assert all(map(alike, *found))


@pytest.mark.parametrize(("side", "repeats"), [(32, True), (17, True), (16, False)])
def test_it_repeats_on_a_gpu_but_where_a_single_place_is_left(side, repeats):
    pool = alexnet((3, side, side), 4, thin=0.01).pool
    assert isinstance(pool, nn.AvgPool2d) is repeats
