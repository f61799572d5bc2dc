"""The compression that each method reaches at the same loss of accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TypeAlias

from prunecli.report.rows import Row, lines_of, times, unpruned
from prunecli.settings.report import LOSSES

Curve: TypeAlias = Sequence[tuple[float, float]]
"""(compression, percentage points lost), by rising compression."""


@dataclass(frozen=True)
class Reach:
    """A compression; `at_least` that if the curve ends before more is lost.

    It is `at_most` that if more is lost at the only ratio.
    """

    compression: float
    at_least: bool = False
    at_most: bool = False

    def __str__(self) -> str:
        bound = "≥ " if self.at_least else "≤ " if self.at_most else ""
        return f"{bound}{times(self.compression)}"


def lost(rows: list[Row]) -> dict[str, list[tuple[float, list[float]]]]:
    """For each method: (compression reached, points of top-1 lost per seed).

    The loss is relative to the unpruned network of the same seed, or to its mean if that seed is
    missing. Empty unless there is exactly one unpruned network.
    """
    dense = unpruned(rows)
    if len(dense) != 1:
        return {}
    whole = {result.seed: result.top1 for result in dense[0].results}
    mean = dense[0].mean("top1")
    return {
        method: [(row.reached, [whole.get(r.seed, mean) - r.top1 for r in row.results])
                 for row in line]
        for method, line in lines_of(rows).items()
    }  # fmt: skip


def at_loss(curve: Curve, loss: float) -> Reach:
    """The highest compression up to which at most `loss` points are lost.

    Between neighbours it is interpolated on a logarithmic scale, c = c0 (c1 / c0)^t with
    t = (loss - l0) / (l1 - l0). The curve starts at the unpruned network, (1, 0), and is not
    extrapolated. A single ratio makes no curve, only a bound. If the curve crosses the loss several
    times, the first crossing counts: the claim must hold for all lower ratios.
    """
    last, least = 1.0, 0.0
    for compression, points in curve:
        if points > loss and len(curve) == 1:
            return Reach(compression, at_most=True)
        if points > loss:
            share = (loss - least) / (points - least)
            return Reach(last * (max(compression, last) / last) ** share)
        last, least = max(compression, last), points
    return Reach(last, at_least=True)


def at_losses(rows: list[Row], losses: Sequence[float] = LOSSES) -> dict[str, dict[float, Reach]]:
    """The compression of each method at each loss, by the mean over seeds."""
    return {
        method: {loss: at_loss([(c, fmean(points)) for c, points in line], loss) for loss in losses}
        for method, line in lost(rows).items()
    }


def against_best(method: str, reached: dict[str, Reach]) -> Reach | None:
    """The method's compression divided by the best other method's.

    `at_most` if another's curve ends before more is lost, since that one may go further. None if
    there is no other, or if nothing bounds the quotient.
    """
    own, others = reached[method], [r for name, r in reached.items() if name != method]
    best = max(others, key=lambda other: other.compression, default=None)
    at_most = own.at_most or any(other.at_least for other in others)
    if best is None or best.at_most or (own.at_least and at_most):
        return None
    return Reach(own.compression / best.compression, own.at_least, at_most)
