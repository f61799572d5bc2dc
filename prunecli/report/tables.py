"""Rows as text: an aligned table for people, CSV and JSON for programs."""

from __future__ import annotations

import csv
import json
import re
from types import SimpleNamespace

from prunecli.errors import printable
from prunecli.report.rows import Row, rounded

HEADINGS = (
    "model", "data", "method", "r", "r reached", "top-1 %", "top-5 %", "FLOPs", "dead", "seeds",
)  # fmt: skip
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


def as_json(rows: list[Row]) -> str:
    return json.dumps([row.flat() for row in rows], indent=1, allow_nan=False) + "\n"


def cells(row: Row) -> list[str]:
    """The row as a person reads it, under `HEADINGS`."""
    flops = row.mean("flops_sparse") / row.mean("flops_dense")
    return [
        printable(row.model),
        printable(row.dataset),
        printable(row.method),
        "" if row.is_free else f"{rounded(row.compression)}x",
        f"{rounded(row.mean('empirical_compression'))}x",
        row.percent("top1"),
        row.percent("top5"),
        f"{flops:.1%}",
        str(row.dead_layers),
        str(row.seeds),
    ]


def as_text(rows: list[Row]) -> str:
    """An aligned table: words to the left, numbers to the right."""
    lines = [list(HEADINGS), *(cells(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(
        "  ".join(
            cell.ljust(width) if number < 3 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        + "\n"
        for line in lines
    )
