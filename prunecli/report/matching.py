"""Matching of published results to rows.

A published method matches rows with its label, and rows whose description has the same first word
and all of its words: 'gmp' matches 'gmp beta=0.05 gamma=0.01'. Of these rows, those with the fewest
words count, so a full description matches only its row. If several published methods match a row,
the one with the most words counts: 'magnitude' does not match 'magnitude layer' if both are
published.

The target compressions must also agree. If one side has none, the row that is nearest in the
compression reached counts. It may be far away, so both are shown.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from prunecli.report.reference import Published, Reference
from prunecli.report.rows import Row

NEAR = 1e-3
"""The relative tolerance of ratios, which are printed rounded: 6.67 is 1 / 0.15."""


@dataclass(frozen=True)
class Pair:
    """A row and its published result; one of them may be missing."""

    ours: Row | None
    theirs: Published | None

    @property
    def asked(self) -> float:
        """The target compression; infinite if there is none."""
        if self.ours and not self.ours.is_free:
            return self.ours.compression
        return (self.theirs and self.theirs.compression) or math.inf


def paired(rows: list[Row], reference: Reference) -> list[Pair]:
    """All published results for the networks of these rows, with their rows, by rising ratio.

    Rows without one are included if another method was published at their ratio.
    """
    here = {(row.model, row.dataset) for row in rows}
    theirs = [each for each in reference if (each.model, each.dataset) in here]
    beside = [(each, _meant(each, rows, theirs)) for each in theirs]
    pairs = [Pair(row, each) for each, meant in beside for row in meant]
    pairs += [Pair(None, each) for each, meant in beside if not meant]
    met = {id(pair.ours) for pair in pairs}
    pairs += [
        Pair(row, None)
        for row in rows
        if id(row) not in met and any(_is_asked_alike(each, row) for each in theirs)
    ]
    order = {id(row): place for place, row in enumerate(rows)}
    return sorted(pairs, key=lambda p: (p.asked, order.get(id(p.ours), len(rows))))


def _meant(each: Published, rows: list[Row], theirs: list[Published]) -> list[Row]:
    """The rows that match a published result."""
    named = [
        row
        for row in rows
        if _names(each, row)
        and not any(
            _names(other, row) and _is_alike(other, row) and _length(other) > _length(each)
            for other in theirs
        )
    ]
    asked = [row for row in named if _is_asked_alike(each, row)]
    nearest = [row for row in named if _is_open(each, row)]
    fewest = min((len(_words(row.description)) for row in asked or nearest), default=0)
    closest = [row for row in asked or nearest if len(_words(row.description)) == fewest]
    return closest if asked else sorted(closest, key=lambda row: distance(each, row))[:1]


def _is_alike(each: Published, row: Row) -> bool:
    return _is_asked_alike(each, row) or _is_open(each, row)


def _is_asked_alike(each: Published, row: Row) -> bool:
    asks = each.compression is not None and not row.is_free
    return asks and math.isclose(each.compression or 0, row.compression, rel_tol=NEAR)


def _is_open(each: Published, row: Row) -> bool:
    """Whether one has no target: then the compression reached decides."""
    return each.compression is None or row.is_free


def distance(each: Published, row: Row) -> float:
    """|log(a / b)| of the compressions reached, else of the numbers of weights left."""
    reached = each.reached or each.compression
    if reached is not None:
        return abs(math.log(reached / row.reached))
    return abs(math.log((each.parameters or 1) / max(row.mean("nonzero"), 1)))


def _names(each: Published, row: Row) -> bool:
    theirs, ours = _words(each.method), _words(row.description)
    meant = theirs[:1] == ours[:1] != [] and set(theirs) <= set(ours)
    return each.method in (row.method, row.description) or meant


def _length(each: Published) -> int:
    return len(_words(each.method))


def _words(label: str) -> list[str]:
    """The words of a label, with numbers in one notation."""
    words = []
    for word in label.split():
        name, sign, value = word.partition("=")
        try:
            words.append(f"{name}={float(value):g}" if sign else word)
        except ValueError:
            words.append(word)
    return words
