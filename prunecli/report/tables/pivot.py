"""A measure by method and compression."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from prunecli.errors import printable
from prunecli.report.matching import Pair
from prunecli.report.noise import has_collapsed
from prunecli.report.rows import Number, Row, times
from prunecli.report.tables.full import flops, full_flops
from prunecli.report.tables.table import Cell, Table
from prunecli.report.view import View

UNPRUNED, OWN = "unpruned", "its own ratio"
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
    published: str = ""
    """The field of a published result, of a measure of which more is better."""


def accuracy(number: Number, title: str) -> Measure:
    return Measure(title, lambda row: row.mean(number), lambda row: row.percent(number), number)


def compute(view: View) -> Measure:
    """The operations of a forward pass, relative to the unpruned network."""
    whole = full_flops(view.everything).get(view.everything[0].section)

    def share(row: Row) -> float:
        return 100 * (flops(row, whole) or 1.0)

    return Measure("FLOPs left, %", share, lambda row: f"{share(row):.1f}")


REACHED = Measure("Compression reached", lambda row: row.reached, lambda row: times(row.reached))


def pivot(view: View, measure: Measure) -> Table:
    """A line per method, a column per compression asked for."""
    cells: dict[str, dict[str, Cell]] = {}
    rows: dict[str, list[Row]] = {}
    for row in view.rows:
        heading = heading_of(row)
        rows.setdefault(heading, []).append(row)
        cells.setdefault(row.method, {})[heading] = _cell(row, measure)
    if measure.published:
        for pair in view.pairs:
            _set_beside(cells, pair, measure.published)
        for heading, own in rows.items():
            _mark_best(cells, heading, own, measure)
    asked = {heading: row.compression for heading, own in rows.items() for row in own}
    asked |= {UNPRUNED: 0.0, OWN: float("inf")}
    asked |= {times(p.asked): p.asked for p in view.pairs if p.ours is None}
    used = {heading for line in cells.values() for heading in line}
    headings = sorted(used, key=lambda heading: asked[heading])
    lines = [
        [Cell(printable(method)), *(line.get(heading, Cell("")) for heading in headings)]
        for method, line in cells.items()
    ]
    return Table(measure.title, ["method", *headings], lines, _notes(lines))


def heading_of(row: Row) -> str:
    """The column of a row: what was asked of it, if anything was."""
    if row.is_dense:
        return UNPRUNED
    return OWN if row.is_free or row.is_critical else times(row.compression)


def _cell(row: Row, measure: Measure) -> Cell:
    text = measure.text(row)
    if measure is not REACHED:
        if heading_of(row) == OWN:
            text += f" ({times(row.reached)})"
        text += _marks(row)
    return Cell(text, measure.number(row), faint=has_collapsed(row))


def _marks(row: Row) -> str:
    missed = not (row.is_dense or row.is_free or row.is_critical or row.is_met)
    is_cut = any(result.live_path is False for result in row.results)
    layers = "†" if row.dead_layers else "‡" * is_cut
    return "*" * missed + layers + "°" * has_collapsed(row)


def _set_beside(cells: dict[str, dict[str, Cell]], pair: Pair, field: str) -> None:
    """Write what was published behind our number, or into a line of its own."""
    if pair.theirs is None or (value := getattr(pair.theirs, field)) is None:
        return
    if pair.ours is not None:
        line, heading = cells[pair.ours.method], heading_of(pair.ours)
        ours = line[heading]
        line[heading] = replace(ours, text=f"{ours.text} [{value:.2f}]")
    elif pair.theirs.compression is not None:
        own = cells.setdefault(f"{pair.theirs.method} (published)", {})
        heading = times(pair.theirs.compression)
        several = f"{own[heading].text} " if heading in own else ""
        own[heading] = Cell(f"{several}[{value:.2f}]", value)


def _mark_best(
    cells: dict[str, dict[str, Cell]], heading: str, rows: list[Row], measure: Measure
) -> None:
    """Mark the highest of a column of pruned networks at one compression."""
    living = [row for row in rows if not has_collapsed(row)]
    if heading in (UNPRUNED, OWN) or len(rows) < 2 or not living:
        return
    most = max(map(measure.number, living))
    for row in living:
        line = cells[row.method]
        line[heading] = replace(line[heading], best=measure.number(row) == most)


def _notes(lines: list[list[Cell]]) -> list[str]:
    texts = "".join(cell.text for line in lines for cell in line[1:])
    notes = [f"{mark} {meaning}" for mark, meaning in MARKS.items() if mark in texts]
    if "[" in texts:
        notes.append("[ ] published")
    return notes
