"""The histogram of a layer's weights, by counting."""

import pytest
import torch

from prunecli.tensors.histogram import BINS, histogram
from prunecli.types import REACH


def test_a_histogram_counts_each_weight_in_its_bin_of_deviations():
    weight = torch.randn(30, 40, generator=torch.Generator().manual_seed(0)) ** 3 + 0.1
    found = histogram(weight)
    values = weight.flatten().double()
    mean = sum(values.tolist()) / 1200
    sigma = (sum((v - mean) ** 2 for v in values.tolist()) / 1199) ** 0.5
    assert (found.sigma, found.mean) == (pytest.approx(sigma), pytest.approx(mean, rel=1e-4))
    counts = [0] * BINS
    for value in values.tolist():
        place = (value / sigma + REACH) / (2 * REACH) * BINS
        if 0 <= place <= BINS:
            counts[min(int(place), BINS - 1)] += 1
    off = [abs(a - b) for a, b in zip(counts, found.weights, strict=True)]
    assert sum(off) <= 2  # one at an edge
    assert sum(found.weights) < 1200  # some lie beyond


@pytest.mark.parametrize("weight", [torch.zeros(0), torch.ones(1), torch.full((5,), 3.0)])
def test_what_has_no_deviation_lies_in_no_bin(weight):
    found = histogram(weight)
    assert found.sigma == 0
    assert not any(found.weights)
