"""What a threshold keeps that exact selection does not: all that lies as far below zero."""

import math

import numpy as np
import pytest
import torch

from prunecli.masks.select import choose, select
from prunecli.masks.threshold import Threshold
from prunecli.tensors.parts import in_memory, parted


def by_threshold(scores, density, scope="global"):
    return in_memory(Threshold(choose(parted(scores), density, scope)))


def kept(scores, density, scope="global"):
    mask = by_threshold(scores, density, scope)
    return {name: bits.nonzero().flatten().tolist() for name, bits in mask.items()}


def tensors(*rows):
    return {f"w{i}": torch.tensor(row, dtype=torch.float32) for i, row in enumerate(rows)}


def by_sorting(scores, density):
    """The slow reference: a place in a sorted copy, and two comparisons, in NumPy."""
    flat = np.concatenate([s.numpy().ravel() for s in scores.values()])
    t = np.sort(flat)[-round(density * len(flat))]
    return {n: ~((s.numpy() < t) & (s.numpy() > -t)) for n, s in scores.items()}


@pytest.mark.parametrize(
    ("rows", "density", "stays"),
    [
        # t = 3: -4 and -3 lie as far away
        (([5, 3, 1, -2], [-3, -4, 0.5, 2]), 2 / 8, {"w0": [0, 1], "w1": [0, 1]}),
        # t = 0.5: only what is nearer to zero goes
        (([5, 3, 1, -0.4], [-3, -4, 0.5, 2]), 5 / 8, {"w0": [0, 1, 2], "w1": [0, 1, 2, 3]}),
        # t = -2: nothing lies between 2 and -2
        (([5, 3, 0, -2], [-3, -4, -1, -5]), 5 / 8, {"w0": [0, 1, 2, 3], "w1": [0, 1, 2, 3]}),
        # all equal to t stay
        (([1, 1, 0, 0], [1, 0, 0, 0]), 2 / 8, {"w0": [0, 1], "w1": [0]}),
        # pruned before
        (([5, -math.inf, 1, -6], [-math.inf, -5, 0, 2]), 1 / 8, {"w0": [0, 3], "w1": [1]}),
    ],
)
def test_by_hand(rows, density, stays):
    assert kept(tensors(*rows), density) == stays


def test_each_layer_has_a_threshold_of_its_own():
    assert kept(tensors([9, -8, 1, 2], [0.3, -0.4, 0.1, 0.2]), 1 / 4, "layer") == {
        "w0": [0],
        "w1": [0, 1],
    }


def test_a_layer_that_is_to_keep_nothing_keeps_nothing():
    scores = {"big": torch.arange(1.0, 100), "small": torch.tensor([-1000.0])}
    assert kept(scores, 2 / 100, "layer") == {"big": [97, 98], "small": []}


@pytest.mark.parametrize("density", [0.9, 0.5, 1 / 4, 1 / 16, 0.01])
def test_it_is_what_a_full_sort_gives(density):
    torch.manual_seed(0)
    scores = {"a": torch.randn(30, 70), "b": torch.randn(2_900)}
    mask, slow = by_threshold(scores, density), by_sorting(scores, density)
    assert all(np.array_equal(mask[name].numpy(), slow[name]) for name in scores)


@pytest.mark.parametrize("density", [0.4, 1 / 4, 1 / 16, 1 / 64])
def test_of_symmetric_scores_it_keeps_twice_what_is_asked_and_of_magnitudes_just_that(density):
    torch.manual_seed(0)
    half = torch.rand(50_000)
    scores = {"a": torch.cat([half, -half])}
    count = int(by_threshold(scores, density)["a"].sum())
    assert count == 2 * round(density * 100_000)
    magnitudes = {"a": torch.rand(1_000).unique(), "b": torch.rand(1_000).unique() + 1}
    exact, other = select(magnitudes, density), by_threshold(magnitudes, density)
    assert all(torch.equal(exact[name], other[name]) for name in exact)
