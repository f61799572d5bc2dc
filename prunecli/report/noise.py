"""What of a difference is noise, and when a network no longer does more than guess."""

from __future__ import annotations

import math

from prunecli.report.rows import Row

LEVEL = 0.05
"""Differences that chance makes more often than this are within noise."""
GUESSING = 1.5
"""A network that is right no more than so many times as often as guessing has collapsed."""


def is_within_noise(row: Row, other: Row) -> bool | None:
    """Whether Welch's t-test, over seeds, leaves it open which of the two is more accurate.

    None where one of them has a single seed, and there is nothing to tell that by.
    """
    ours, theirs = row.values("top1"), other.values("top1")
    if min(len(ours), len(theirs)) < 2:
        return None
    if row.spread("top1") == other.spread("top1") == 0:
        return row.mean("top1") == other.mean("top1")
    from scipy import stats

    p = float(stats.ttest_ind(ours, theirs, equal_var=False).pvalue)
    return math.isnan(p) or p > LEVEL


def has_collapsed(row: Row) -> bool:
    """Whether it does hardly more than guess. Never, of results that don't say among how many."""
    classes = row.first.classes
    return classes is not None and row.mean("top1") <= min(GUESSING * 100 / classes, 99.0)
