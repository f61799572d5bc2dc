"""What of a difference is noise, and what is no more than a guess."""

import math
import warnings
from statistics import fmean, variance

import pytest
from results import result
from scipy.special import betainc

from prunecli.report.noise import has_collapsed, is_within_noise
from prunecli.report.rows import grouped


def row(values, method="lamp", **more):
    [made] = grouped(result(method, top1=t, seed=s, **more) for s, t in enumerate(values))
    return made


def welch(ours, theirs):
    """The two-sided p of Welch's test, by its formula and the incomplete beta function."""
    shares = [variance(each) / len(each) for each in (ours, theirs)]
    t = (fmean(ours) - fmean(theirs)) / math.sqrt(sum(shares))
    below = sum(s**2 / (len(each) - 1) for s, each in zip(shares, (ours, theirs), strict=True))
    freedom = sum(shares) ** 2 / below
    return betainc(freedom / 2, 0.5, freedom / (freedom + t**2))


@pytest.mark.parametrize(
    ("ours", "theirs", "noise"),
    [
        # By hand: variances 1 and 1, t = 2 / sqrt(2 / 3) = 2.449 at 4 degrees of freedom, whose
        # quantile for 5 % is 2.776; then t = 3 / sqrt(2 / 3) = 3.674.
        ([90, 91, 92], [88, 89, 90], True),
        ([90, 91, 92], [87, 88, 89], False),
        ([90, 90.1, 90.2], [89.9, 90.0, 90.1], True),
        ([90, 90.1, 90.2], [80, 85, 95], True),
        ([90, 90.1, 90.2], [70, 75, 72], False),
        ([90, 91], [80, 81, 82, 83], False),
        ([80, 90], [70, 70.1, 70.2, 70.3, 70.1], True),  # Student, of one variance, says p = 0.002
    ],
)
def test_welchs_test_tells_two_methods_apart_or_not(ours, theirs, noise):
    assert bool(welch(ours, theirs) > 0.05) is noise
    assert is_within_noise(row(ours), row(theirs)) is noise
    assert is_within_noise(row(theirs), row(ours)) is noise


def test_one_seed_leaves_it_open():
    assert is_within_noise(row([90]), row([80, 81])) is None
    assert is_within_noise(row([90, 91]), row([80])) is None
    assert is_within_noise(row([90]), row([90])) is None


def test_values_that_do_not_vary_are_as_they_are():
    assert is_within_noise(row([90, 90]), row([90, 90])) is True
    assert is_within_noise(row([90, 90]), row([89.99, 89.99])) is False
    assert is_within_noise(row([90.1] * 3), row([80.1, 80.2, 80.3])) is False


def test_values_that_hardly_vary_warn_nobody():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert is_within_noise(row([90.1, 90.1, 90.1]), row([90.1, 90.1, 90.1 + 1e-13])) is True
        assert is_within_noise(row([90.1] * 3), row([80.1, 80.1, 80.1 + 1e-13])) is False


@pytest.mark.parametrize(
    ("classes", "top1", "collapsed"),
    [
        (10, 15.0, True), (10, 15.1, False), (100, 1.5, True), (100, 1.6, False),
        (2, 75.0, True), (2, 75.1, False), (1, 99.0, True), (1, 100.0, False),
        (None, 0.0, False),  # older results do not say among how many it guesses
    ],
)  # fmt: skip
def test_who_is_right_no_more_than_half_as_often_again_as_by_guessing_has_collapsed(
    classes, top1, collapsed
):
    assert has_collapsed(row([top1], classes=classes)) is collapsed


def test_the_mean_over_seeds_says_whether_a_method_has_collapsed():
    assert has_collapsed(row([10, 19], classes=10))
    assert not has_collapsed(row([10, 90], classes=10))
