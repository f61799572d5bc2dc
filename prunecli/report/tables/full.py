"""All rows in one table, for people and for programs."""

from __future__ import annotations

import json
from itertools import groupby
from typing import Any

from prunecli.errors import printable
from prunecli.report.equal_loss import Reach, at_losses
from prunecli.report.rows import Row, measured, times, unpruned
from prunecli.report.tables import table as tables
from prunecli.report.tables.table import Table

HEADINGS = (
    "model", "data", "method", "r", "r reached", "sparsity %", "weights", "top-1 %", "top-5 %",
    "FLOPs", "dead", "seeds",
)  # fmt: skip
CRITICAL = "critical"
"""The heading of a further column, where a row has something to say in it."""


def as_csv(rows: list[Row]) -> str:
    """A table for other programs, and for `report --reference`."""
    flat = [row.flat() for row in rows]
    return tables.as_csv(list(flat[0]), [list(own.values()) for own in flat])


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
    return {
        "points": loss,
        "compression": reach.compression,
        "at_least": reach.at_least,
        "at_most": reach.at_most,
    }


def full_flops(rows: list[Row]) -> dict[tuple[str, str], float]:
    """The operations of the unpruned network of each section, where they agree in that."""
    sections = [list(own) for _, own in groupby(rows, lambda row: row.section)]
    found = {own[0].section: {row.mean("flops_dense") for row in unpruned(own)} for own in sections}
    return {section: flops.pop() for section, flops in found.items() if len(flops) == 1}


def full(rows: list[Row]) -> Table:
    """A line for each row."""
    whole = full_flops(rows)
    lines = [_cells(row, whole.get(row.section)) for row in rows]
    headings = list(HEADINGS)
    if any(row.is_critical for row in rows):
        headings.append(CRITICAL)
        for row, line in zip(rows, lines, strict=True):
            line.append(row.percent("empirical_compression") if row.is_critical else "")
    return Table("All results", headings, tables.plain(lines), [], words=3)


def _cells(row: Row, whole: float | None) -> list[str]:
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
        "" if (share := flops(row, whole)) is None else f"{share:.1%}",
        str(row.dead_layers),
        str(row.seeds),
    ]


def flops(row: Row, whole: float | None) -> float | None:
    """The operations over those of the full network, or, of a pruned one, over its own unpruned.

    None for a dense network that there is nothing to compare with.
    """
    whole = whole or (None if row.is_dense else row.mean("flops_dense"))
    return None if whole is None else row.mean("flops_sparse") / whole
