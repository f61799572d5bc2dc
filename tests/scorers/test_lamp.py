import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prunecli.scorers.lamp import lamp


def brute_force(weights):
    """w_u^2 over the sum of squares of all v that rank as high or higher, each by a full scan."""
    ranked = sorted(range(len(weights)), key=lambda i: (-abs(weights[i]), i))
    scores = [0.0] * len(weights)
    for rank, place in enumerate(ranked):
        total = sum(weights[other] ** 2 for other in ranked[: rank + 1])
        scores[place] = weights[place] ** 2 / total if weights[place] else 0.0
    return scores


def test_by_hand():
    # Squares 16, 9, 4, 1; sums from the largest down 16, 25, 29, 30.
    scores = lamp(torch.tensor([[1.0, -4.0], [3.0, -2.0]]))
    assert scores.tolist() == [pytest.approx([1 / 30, 1.0]), pytest.approx([9 / 25, 4 / 29])]


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=30))
def test_agrees_with_brute_force(weights):
    assert lamp(torch.tensor(weights)).tolist() == pytest.approx(brute_force(weights), rel=1e-6)


def test_the_largest_weight_of_a_layer_of_millions_scores_exactly_1():
    torch.manual_seed(0)
    weight = torch.randn(512, 512, 3, 3)
    scores = lamp(weight)
    assert scores.max() == 1.0
    assert scores.flatten()[weight.abs().argmax()] == 1.0
    assert scores.min() > 0


def test_monotone_in_magnitude_and_blind_to_scale():
    torch.manual_seed(0)
    weight = torch.randn(1000)
    scores = lamp(weight)
    assert (scores[weight.abs().argsort()].diff() >= 0).all()
    assert torch.allclose(lamp(weight * 1024), scores, rtol=1e-6)


def test_equal_weights_rank_by_place():
    assert lamp(torch.ones(3)).tolist() == pytest.approx([1, 1 / 2, 1 / 3])


def test_an_all_zero_layer_scores_zero():
    assert lamp(torch.zeros(4)).tolist() == [0, 0, 0, 0]
