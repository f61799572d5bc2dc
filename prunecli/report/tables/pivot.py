"""A measure by method and compression."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TypeAlias

from prunecli.errors import printable
from prunecli.report.matching import NEAR, Pair
from prunecli.report.noise import has_collapsed
from prunecli.report.rows import Number, Row, times
from prunecli.report.tables.full import flops, full_flops
from prunecli.report.tables.table import Cell, Table
from prunecli.report.view import View

UNPRUNED, OWN = "unpruned", "its own ratio"
Column: TypeAlias = str | float
"""One of these, or the compression asked for."""
Cells: TypeAlias = dict[str, dict[Column, Cell]]
"""By method and column."""
MARKS = {
    "*": "it kept more or fewer weights than asked",
    "†": "a layer is without any weight",
    "‡": "cut: no layer is empty, but no path of weights leads from input to output",
    "°": "collapsed: it does hardly more than guess",
}


@dataclass(frozen=True)
class Measure:
    """What a table is of, as text and as a number; and what was published of it."""

    title: str
    number: Callable[[Row], float]
    text: Callable[[Row], str]
    std: Callable[[Row], float | None] = lambda row: None
    published: str = ""
    """The field of a published result, of a measure of which more is better."""


def accuracy(number: Number, title: str) -> Measure:
    return Measure(
        title,
        number=lambda row: row.mean(number),
        text=lambda row: row.percent(number),
        std=lambda row: row.deviation(number),
        published=number,
    )


def compute(view: View) -> Measure:
    """The operations of a forward pass, relative to the unpruned network."""
    whole = full_flops(view.everything).get(view.everything[0].section)

    def share(row: Row) -> float:
        return 100 * (flops(row, whole) or 1.0)

    return Measure("FLOPs left, %", share, lambda row: f"{share(row):.1f}")


REACHED = Measure("Compression reached", lambda row: row.reached, lambda row: times(row.reached))


def pivot(view: View, measure: Measure) -> Table:
    """A line per method, a column per compression asked for."""
    cells: Cells = {}
    rows: dict[Column, list[Row]] = {}
    for row in view.rows:
        rows.setdefault(_column(row), []).append(row)
        cells.setdefault(row.method, {})[_column(row)] = _cell(row, measure)
    if measure.published:
        for pair in view.pairs:
            _set_beside(cells, pair, measure.published, rows)
        for column, own in rows.items():
            _mark_best(cells, column, own, measure)
    ends = {UNPRUNED: 0.0, OWN: math.inf}
    used = {column for line in cells.values() for column in line}
    columns = sorted(used, key=lambda column: ends.get(str(column), column))
    lines = [
        [Cell(printable(method)), *(line.get(column, Cell("")) for column in columns)]
        for method, line in cells.items()
    ]
    return Table(measure.title, ["method", *_headings(columns)], lines, _notes(lines))


def _column(row: Row) -> Column:
    """The column of a row: what was asked of it, if anything was."""
    if row.is_dense:
        return UNPRUNED
    return OWN if row.is_free or row.is_critical else row.compression


def _headings(columns: list[Column]) -> list[str]:
    """The headings; those that would read alike have all their digits."""
    short = [column if isinstance(column, str) else times(column) for column in columns]
    return [
        f"{column}x" if short.count(text) > 1 else text
        for text, column in zip(short, columns, strict=True)
    ]


def _cell(row: Row, measure: Measure) -> Cell:
    text, marks = measure.text(row), ""
    if measure is not REACHED:
        if _column(row) == OWN:
            text += f" ({times(row.reached)})"
        marks = _marks(row)
    return Cell(
        text + marks, measure.number(row), faint=has_collapsed(row), std=measure.std(row),
        marks=marks,
    )  # fmt: skip


def _marks(row: Row) -> str:
    missed = not (row.is_dense or row.is_free or row.is_critical or row.is_met)
    is_cut = any(result.live_path is False for result in row.results)
    layers = "†" if row.dead_layers else "‡" * is_cut
    return "*" * missed + layers + "°" * has_collapsed(row)


def _set_beside(cells: Cells, pair: Pair, field: str, ours: Iterable[Column]) -> None:
    """Write what was published behind our number, or into a line of its own."""
    if pair.theirs is None or (value := getattr(pair.theirs, field)) is None:
        return
    if pair.ours is not None:
        line, column = cells[pair.ours.method], _column(pair.ours)
        own = line[column]
        line[column] = replace(own, text=f"{own.text} [{value:.2f}]", published=value)
    elif (asked := pair.theirs.compression) is not None:
        line = cells.setdefault(f"{pair.theirs.method} (published)", {})
        ratios = (ratio for ratio in ours if isinstance(ratio, float))
        column = next((r for r in ratios if math.isclose(r, asked, rel_tol=NEAR)), asked)
        several = f"{line[column].text} " if column in line else ""
        line[column] = Cell(f"{several}[{value:.2f}]", value)


def _mark_best(cells: Cells, column: Column, rows: list[Row], measure: Measure) -> None:
    """Mark the highest of a column of pruned networks that have the compression asked for."""
    living = [row for row in rows if row.is_met and not has_collapsed(row)]
    if isinstance(column, str) or len(rows) < 2 or not living:
        return
    most = max(map(measure.number, living))
    for row in living:
        line = cells[row.method]
        line[column] = replace(line[column], best=measure.number(row) == most)


def _notes(lines: list[list[Cell]]) -> list[str]:
    texts = "".join(cell.text for line in lines for cell in line[1:])
    notes = [f"{mark} {meaning}" for mark, meaning in MARKS.items() if mark in texts]
    if "[" in texts:
        notes.append("[ ] published")
    return notes
