"""Rows as text: an aligned table for people, CSV and JSON for programs."""

from __future__ import annotations

import csv
import json
import re
from itertools import groupby
from types import SimpleNamespace
from typing import Any

from prunecli.errors import printable
from prunecli.report.equal_loss import Reach, at_losses
from prunecli.report.rows import Row, measured, times, unpruned

HEADINGS = (
    "model", "data", "method", "r", "r reached", "sparsity %", "weights", "top-1 %", "top-5 %",
    "FLOPs", "dead", "seeds",
)  # fmt: skip
CRITICAL = "critical"
"""The heading of a further column, where a row has something to say in it."""
ACTIVE = re.compile(r"'*[-=+@#\t\r\n\uff1d\uff0b\uff0d\uff20]")
"""The beginnings of cells that spreadsheets, or readers of tables, may take for something to do."""


def cell_of(text: str) -> str:
    """Text as a cell that no spreadsheet takes for a formula, and nobody for a comment."""
    return f"'{text}" if ACTIVE.match(text) else text


def text_of(cell: str) -> str:
    """What `cell_of` made a cell of."""
    return cell[1:] if cell.startswith("'") and ACTIVE.match(cell) else cell


def as_csv(rows: list[Row]) -> str:
    """A table for other programs, and for `report --reference`."""
    lines: list[str] = []
    flat = [
        {key: cell_of(value) if isinstance(value, str) else value for key, value in own.items()}
        for own in (row.flat() for row in rows)
    ]
    sink = SimpleNamespace(write=lines.append)
    writer = csv.DictWriter(sink, list(flat[0]), lineterminator="\r\n")  # and so both are quoted
    writer.writeheader()
    writer.writerows(flat)
    return "".join(line.removesuffix("\r\n") + "\n" for line in lines)


def as_json(rows: list[Row], loss: float | None = None) -> str:
    """The rows as a list; where a loss is given, each with what its method reaches at that."""
    own: list[dict[str, Any]] = [dict(row.flat()) for row in rows]
    if loss is not None:
        sections = {
            section: at_losses(measured(list(each)), [loss])
            for section, each in groupby(rows, lambda row: row.section)
        }
        for flat, row in zip(own, rows, strict=True):
            reached = sections[row.section].get(row.method)
            flat["at_loss"] = reached and _reach(loss, reached[loss])
    return json.dumps(own, indent=1, allow_nan=False) + "\n"


def _reach(loss: float, reach: Reach) -> dict[str, float | bool]:
    return {"points": loss, "compression": reach.compression, "at_least": reach.at_least}


def full_flops(rows: list[Row]) -> dict[tuple[str, str], float]:
    """The operations of the unpruned network of each section, where they agree in that."""
    sections = [list(own) for _, own in groupby(rows, lambda row: row.section)]
    found = {own[0].section: {row.mean("flops_dense") for row in unpruned(own)} for own in sections}
    return {section: flops.pop() for section, flops in found.items() if len(flops) == 1}


def table(rows: list[Row]) -> tuple[list[str], list[list[str]]]:
    """The headings, and the rows as a person reads them."""
    full = full_flops(rows)
    lines = [_cells(row, full.get(row.section)) for row in rows]
    if not any(row.is_critical for row in rows):
        return list(HEADINGS), lines
    more = [row.percent("empirical_compression") if row.is_critical else "" for row in rows]
    return [*HEADINGS, CRITICAL], [[*line, cell] for line, cell in zip(lines, more, strict=True)]


def _cells(row: Row, full: float | None) -> list[str]:
    return [
        printable(row.model),
        printable(row.dataset),
        printable(row.method),
        "" if row.is_free else times(row.compression),
        times(row.reached),
        f"{100 * (1 - row.mean('density')):.2f}",
        f"{row.mean('nonzero'):,.0f}",
        row.percent("top1"),
        row.percent("top5"),
        _flops(row, full),
        str(row.dead_layers),
        str(row.seeds),
    ]


def _flops(row: Row, full: float | None) -> str:
    """The operations over those of the full network, or, of a pruned one, over its own unpruned.

    Nothing is said of a dense network that there is nothing to compare with.
    """
    whole = full or (None if row.is_dense else row.mean("flops_dense"))
    return "" if whole is None else f"{row.mean('flops_sparse') / whole:.1%}"


def as_text(rows: list[Row]) -> str:
    """An aligned table: words to the left, numbers to the right."""
    headings, cells = table(rows)
    lines = [headings, *cells]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(
        "  ".join(
            cell.ljust(width) if number < 3 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        + "\n"
        for line in lines
    )
