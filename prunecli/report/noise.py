"""What of a difference is noise, and when a network no longer does more than guess."""

from __future__ import annotations

from prunecli.report.rows import Row

LEVEL = 0.05
"""Differences that chance makes more often than this are within noise."""
GUESSING = 1.5
"""A network that is right no more than so many times as often as guessing has collapsed."""


def is_within_noise(row: Row, other: Row) -> bool | None:
    """Whether Welch's t-test, over seeds, leaves it open which of the two is more accurate.

    None where one of them has a single seed, and there is nothing to tell that by.
    """
    (mean, spread, seeds), theirs = _moments(row), _moments(other)
    if min(seeds, theirs[2]) < 2:
        return None
    if spread == theirs[1] == 0:
        return mean == theirs[0]
    from scipy import stats

    test = stats.ttest_ind_from_stats(mean, spread, seeds, *theirs, equal_var=False)
    return float(test.pvalue) > LEVEL


def _moments(row: Row) -> tuple[float, float, int]:
    """Mean, standard deviation and number of its accuracies."""
    return row.mean("top1"), row.spread("top1"), len(row.results)


def has_collapsed(row: Row) -> bool:
    """Whether it does hardly more than guess. Never, of results that don't say among how many."""
    return row.mean("top1") <= _guessed(row)


def collapsed(row: Row) -> int:
    """How many of its results do hardly more than guess."""
    return sum(top1 <= _guessed(row) for top1 in row.values("top1"))


def _guessed(row: Row) -> float:
    """The highest accuracy, in percent, that counts as guessing."""
    classes = row.first.classes
    return -1.0 if classes is None else min(GUESSING * 100 / classes, 99.0)
