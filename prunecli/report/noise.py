"""What of a difference is noise, and when a network no longer does more than guess."""

from __future__ import annotations

from itertools import chain

from prunecli.report.rows import Row

LEVEL = 0.05
"""Differences that chance makes more often than this are within noise."""
GUESSING = 1.5
"""A network that is right no more than so many times as often as guessing has collapsed."""


def is_within_noise(row: Row, other: Row) -> bool | None:
    """Whether Welch's t-test, over seeds, leaves it open which of the two is more accurate.

    None where one of them has a single seed, and there is nothing to tell that by.
    """
    if min(row.seeds, other.seeds) < 2:
        return None
    if row.spread("top1") == other.spread("top1") == 0:
        return row.mean("top1") == other.mean("top1")
    from scipy import stats

    means = [(each.mean("top1"), each.spread("top1"), each.seeds) for each in (row, other)]
    return float(stats.ttest_ind_from_stats(*chain(*means), equal_var=False).pvalue) > LEVEL


def has_collapsed(row: Row) -> bool:
    """Whether it does hardly more than guess. Never, of results that don't say among how many."""
    classes = row.first.classes
    return classes is not None and row.mean("top1") <= min(GUESSING * 100 / classes, 99.0)
