import math

import pytest
import torch

from prunecli.masks.mask import aligned, apply_, dead_layers, density, exact_count, kept_counts


@pytest.mark.fault(9)
def test_applying_a_mask_leaves_plus_zero_whatever_was_there():
    weight = torch.tensor([math.nan, -1.0, -0.0, 2.0, math.inf])
    apply_({"w": weight}, {"w": torch.tensor([False, False, False, True, False])})
    assert weight.tolist() == [0, 0, 0, 2, 0]
    assert not torch.signbit(weight).any()


def test_an_aligned_mask_has_the_weights_memory_format():
    weight = torch.randn(4, 3, 5, 5).to(memory_format=torch.channels_last)
    mask = torch.rand(4, 3, 5, 5) > 0.5
    ready = aligned({"w": mask}, {"w": weight})["w"]
    assert ready.stride() == weight.stride()
    assert (ready == mask).all()


def test_density_and_dead_layers():
    mask = {"a": torch.tensor([True, False, True, True]), "b": torch.zeros(4, dtype=torch.bool)}
    assert density(mask) == 3 / 8
    assert kept_counts(mask) == {"a": 3, "b": 0}
    assert dead_layers(mask) == ["b"]


@pytest.mark.parametrize(
    ("fraction", "total", "count"),
    [(1 / 16, 430_500, 26_906), (0.5, 5, 2), (0.5, 7, 4), (1.0, 3, 3), (1e-9, 10, 0)],
)
def test_exact_count_rounds_halves_to_even(fraction, total, count):
    assert exact_count(fraction, total) == count
