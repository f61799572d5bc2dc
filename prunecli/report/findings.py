"""What the results of a section come to, in sentences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from statistics import median

from prunecli.errors import printable
from prunecli.report.equal_loss import at_losses
from prunecli.report.noise import collapsed, has_collapsed, is_within_noise
from prunecli.report.protocol import differing
from prunecli.report.rows import Row, times
from prunecli.report.view import View
from prunecli.settings.report import LOSSES

MOST = 4
"""The most names that a sentence lists one by one."""


def findings(view: View, losses: Sequence[float] = LOSSES) -> list[str]:
    """Sentences: fairness, the best, which collapse, budgets, noise, what was published.

    Of the losses of accuracy, that nearest to one point is told of.
    """
    told = [
        _unpruned, _training, _best, _trade_offs, _collapsed, _critical, _budgets, _seeds,
        _published,
    ]  # fmt: skip
    return [
        *(sentence for tell in told for sentence in tell(view)),
        *_at_loss(view, min(losses, key=lambda loss: abs(loss - 1))),
    ]


def _unpruned(view: View) -> Iterator[str]:
    rows = view.unpruned
    if len(rows) == 1:
        yield f"Unpruned: {rows[0].percent('top1')}% top-1{_over(rows[0].seeds)}."
    elif rows:
        told = [f"{_name(row)} {row.percent('top1')}%" for row in rows]
        yield f"Unpruned: {_some(told)}."


def _over(seeds: int) -> str:
    return f", mean ± standard deviation of {seeds} seeds" if seeds > 1 else ", one seed"


def _best(view: View) -> Iterator[str]:
    """The best of those that met each ratio, if there are several, and who may be as good."""
    pruned = [row for row in view.rows if not row.is_dense and row.is_met]
    order = sorted(pruned, key=lambda row: row.compression)
    for ratio, rows in groupby(order, key=lambda row: row.compression):
        living = sorted(
            (row for row in rows if not has_collapsed(row)), key=lambda row: -row.mean("top1")
        )
        if len(living) > 1:
            best = living[0]
            level = [row for row in living if row.mean("top1") == best.mean("top1")]
            ahead = f"{' and '.join(map(_name, level))} {'are level' if level[1:] else 'is best'}"
            text = f"{times(ratio)}: {ahead} with {best.percent('top1')}%"
            yield f"{text}{_open(best, living[len(level) :])}."


def _trade_offs(view: View) -> Iterator[str]:
    """Where some were asked for no compression: the networks that no other beats in both."""
    pruned = [row for row in view.rows if not row.is_dense]
    living = [row for row in pruned if not has_collapsed(row)]
    best = [row for row in living if not any(_beats(other, row) for other in living)]
    if len(living) > 1 and any(row.is_free for row in pruned):
        order = sorted(best, key=lambda row: -row.mean("nonzero"))
        told = [f"{_name(row)} {row.percent('top1')}% at {times(row.reached)}" for row in order]
        yield f"Best trade-offs, where no other is smaller and more accurate: {_some(told, 8)}."


def _beats(row: Row, other: Row) -> bool:
    """Whether it is smaller and more accurate, or as good in one and better in the other."""
    own, theirs = ((each.mean("nonzero"), each.mean("top1")) for each in (row, other))
    return own != theirs and own[0] <= theirs[0] and own[1] >= theirs[1]


def _open(best: Row, others: list[Row]) -> str:
    """What is said of those that noise may have set behind the best."""
    if not others:
        return ""
    tests = [(row, is_within_noise(best, row)) for row in others]
    if all(test is None for _, test in tests):
        return f", then {_name(others[0])} with {others[0].percent('top1')}%"
    equal = [_name(row) for row, test in tests if test]
    if equal:
        return f"; within noise of it: {', '.join(equal)}"
    return f"; the next, {_name(others[0])}, has {others[0].percent('top1')}%"


def _critical(view: View) -> Iterator[str]:
    """Who goes furthest before a layer is empty."""
    rows = sorted(view.critical, key=lambda row: -row.reached)
    if rows:
        told = [f"{_name(row)} {times(row.reached)}" for row in rows]
        yield f"Highest compression at which every layer keeps a weight: {_some(told)}."


def _collapsed(view: View) -> Iterator[str]:
    """From which ratio on a method does no more than guess, on average or on some seeds."""
    found: dict[float, list[str]] = {}
    for method, line in view.lines.items():
        first = next((row.compression for row in line if has_collapsed(row)), None)
        if first is not None:
            found.setdefault(first, []).append(printable(method))
    if found:
        told = [f"{', '.join(found[ratio])} at {times(ratio)}" for ratio in sorted(found)]
        yield f"Collapsed to guessing first: {'; '.join(told)}."
    partly = [
        f"{printable(row.title)} ({count} of {len(row.results)})"
        for row in view.rows
        if (count := collapsed(row)) and not (row.is_dense or has_collapsed(row))
    ]
    if partly:
        yield f"Collapsed on some seeds: {', '.join(partly)}."


def _budgets(view: View) -> Iterator[str]:
    pruned = [row for row in view.rows if not row.is_dense]
    asking = [row for row in pruned if not row.is_free]
    missed = [row for row in asking if not row.is_met]
    if missed:
        yield f"Missed the compression asked for: {_some([row.title for row in missed])}."
    elif asking:
        if len(asking) == len(pruned):
            yield "Every network has the compression asked for."
        else:
            those = _some([_name(row) for row in asking])
            yield f"Only these were asked for a compression, and they have it: {those}."


def _training(view: View) -> Iterator[str]:
    """What of the training sets pruned networks apart that a comparison would keep equal."""
    differ = [f"{name} {_some(values, 3)}" for name, values in differing(view).items()]
    if differ:
        yield f"Not all were trained alike, so compare with care: {printable('; '.join(differ))}."


def _seeds(view: View) -> Iterator[str]:
    numbers = {row.seeds for row in view.rows if not row.is_dense}
    if len(numbers) > 1:
        yield f"From {min(numbers)} to {max(numbers)} seeds each: means of few are less certain."
    repeated = [row for row in view.rows if row.seeds > 1 and not row.is_dense]
    if len(repeated) == 1:
        [row] = repeated
        spread = row.spread("top1")
        yield f"Standard deviation over {row.seeds} seeds: {spread:.2f} points of top-1."
    elif repeated:
        middle = median(row.spread("top1") for row in repeated)
        most = max(repeated, key=lambda row: row.spread("top1"))
        yield (
            f"Standard deviation over seeds: {middle:.2f} points of top-1 in the median, "
            f"{most.spread('top1'):.2f} at most ({printable(most.title)})."
        )
    elif len(view.rows) > 1:
        yield "One seed each: small differences may be chance."


def _published(view: View) -> Iterator[str]:
    """How far ours are from what was published."""
    away = [
        pair.ours.mean("top1") - pair.theirs.top1
        for pair in view.pairs
        if pair.ours and pair.theirs and pair.theirs.top1 is not None
    ]
    if away:
        ours = "Ours less published top-1"
        if len(away) == 1:
            yield f"{ours}: {away[0]:+.2f} points, of one pair."
        else:
            yield (
                f"{ours}: {median(away):+.2f} points in the median of {len(away)} pairs, "
                f"{min(away):+.2f} to {max(away):+.2f}."
            )


def _at_loss(view: View, loss: float) -> Iterator[str]:
    """Who goes furthest for a loss of so many points."""
    curves = at_losses(view.rows, [loss]).items()
    reached = {method: own[loss] for method, own in curves if not own[loss].at_most}
    if len(reached) > 1:
        order = sorted(reached.items(), key=lambda item: -item[1].compression)[:MOST]
        told = ", ".join(f"{printable(method)} {reach}" for method, reach in order)
        yield f"Furthest for {loss:g} point{'s' * (loss != 1)} of top-1 lost: {told}."


def _name(row: Row) -> str:
    return printable(row.method)


def _some(names: Iterable[str], most: int = MOST) -> str:
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more
