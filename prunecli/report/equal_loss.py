"""How far a network can be compressed for the same loss of accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TypeAlias

from prunecli.report.rows import Row, lines_of, times, unpruned
from prunecli.settings.report import LOSSES

Curve: TypeAlias = Sequence[tuple[float, float]]
"""Points lost at each compression, by rising compression."""


@dataclass(frozen=True)
class Reach:
    """A compression. Where the curve ends before more is lost, it is `at_least` that."""

    compression: float
    at_least: bool = False
    at_most: bool = False

    def __str__(self) -> str:
        bound = "≥ " if self.at_least else "≤ " if self.at_most else ""
        return f"{bound}{times(self.compression)}"


def lost(rows: list[Row]) -> dict[str, list[tuple[float, list[float]]]]:
    """The points of top-1 that the unpruned network of the same seed has more.

    They stand beside the compression reached, for each method. Empty unless there is one unpruned
    network.
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
    """The highest compression up to which no more than that is lost.

    Between neighbours it is interpolated on a logarithmic scale, c = c0 (c1 / c0)^t with
    t = (loss - l0) / (l1 - l0). The curve begins at the unpruned network, (1, 0), and is not
    extrapolated. Where it crosses the loss several times, the first crossing counts: beyond it
    more was lost at some ratio, so no claim for all ratios up to a later one would hold.
    """
    last, least = 1.0, 0.0
    for compression, points in curve:
        if points > loss:
            share = (loss - least) / (points - least)
            return Reach(last * (max(compression, last) / last) ** share)
        last, least = max(compression, last), points
    return Reach(last, at_least=True)


def at_losses(rows: list[Row], losses: Sequence[float] = LOSSES) -> dict[str, dict[float, Reach]]:
    """What each method reaches at each loss, by the mean over seeds."""
    return {
        method: {loss: at_loss([(c, fmean(points)) for c, points in line], loss) for loss in losses}
        for method, line in lost(rows).items()
    }


def against_best(method: str, reached: dict[str, Reach]) -> Reach | None:
    """How many times the compression of the best other method that is.

    It is at most that where the curve of another ends before more is lost: that one may go further.
    None where there is no other, or where both may.
    """
    own, others = reached[method], [r for name, r in reached.items() if name != method]
    further = any(other.at_least for other in others)
    if not others or (own.at_least and further):
        return None
    best = max(other.compression for other in others)
    return Reach(own.compression / best, own.at_least, further)
