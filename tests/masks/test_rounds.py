import pytest

from prunecli.masks.rounds import SCHEDULES, densities


def test_exponential_keeps_the_same_fraction_each_round():
    assert densities(0.001, 3, "exponential") == pytest.approx([0.1, 0.01, 0.001])


def test_linear_removes_the_same_number_each_round():
    assert densities(0.1, 3, "linear") == pytest.approx([0.7, 0.4, 0.1])


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("rounds", [1, 7, 100])
def test_the_last_round_is_exactly_the_density_asked_for(schedule, rounds):
    curve = densities(1 / 16, rounds, schedule)
    assert len(curve) == rounds
    assert curve[-1] == 1 / 16
    assert curve == sorted(curve, reverse=True)
