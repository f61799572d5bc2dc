"""Our rows beside published results."""

from __future__ import annotations

import math
from collections.abc import Sequence

from prunecli.errors import printable
from prunecli.report.matching import Pair
from prunecli.report.reference import Published
from prunecli.report.rows import Row, times
from prunecli.report.tables.table import Table, plain

HEADINGS = (
    "method", "published as", "asked", "reached", "published", "weights left", "published",
    "top-1 %", "published", "top-5 %", "published",
)  # fmt: skip
MARKS = "*†‡§¶"


def published(pairs: Sequence[Pair]) -> Table:
    """A line per pair; the note of a published result is below, under the mark behind it."""
    texts = dict.fromkeys(pair.theirs.note for pair in pairs if pair.theirs and pair.theirs.note)
    notes = {
        text: MARKS[number % len(MARKS)] * (1 + number // len(MARKS))
        for number, text in enumerate(texts)
    }
    lines = [_cells(pair, notes.get(pair.theirs.note, "") if pair.theirs else "") for pair in pairs]
    below = [f"{mark} {printable(text)}" for text, mark in notes.items()]
    return Table("Beside what was published", list(HEADINGS), plain(lines), below, words=2)


def _cells(pair: Pair, mark: str) -> list[str]:
    ours, theirs = _ours(pair.ours), _theirs(pair.theirs, mark)
    same = pair.ours and pair.theirs and pair.theirs.method == pair.ours.method
    beside = [cell for both in zip(ours[1:], theirs[1:], strict=True) for cell in both]
    asked = "" if math.isinf(pair.asked) else times(pair.asked)
    return [ours[0], "" if same else theirs[0], asked, *beside]


def _ours(row: Row | None) -> list[str]:
    if row is None:
        return [""] * 5
    left = f"{row.mean('nonzero'):,.0f}"
    return [printable(row.method), times(row.reached), left, row.percent("top1"),
            row.percent("top5")]  # fmt: skip


def _theirs(each: Published | None, mark: str) -> list[str]:
    """The mark of its note stands behind its accuracy."""
    if each is None:
        return [""] * 5
    return [
        printable(each.method),
        "" if each.reached is None else times(each.reached),
        "" if each.parameters is None else f"{each.parameters:,.0f}",
        *("" if top is None else f"{top:.2f}{mark}" for top in (each.top1, each.top5)),
    ]
