"""Published numbers, or those of an earlier report, to set beside one's own."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from prunecli.errors import BadInput, printable
from prunecli.files.texts import read_text
from prunecli.report.rows import Row
from prunecli.report.tables import text_of

COLUMNS = ("model", "dataset", "method", "compression", "top1", "top5")
Key = tuple[str, str, str, float]


@dataclass(frozen=True)
class Published:
    """Accuracy in percent; top-5 is not always told."""

    top1: float
    top5: float | None


Reference = Mapping[Key, Published]


def read_reference(path: Path) -> Reference:
    """The results in a CSV with at least `COLUMNS`, such as `report --format csv` writes. '#'
    starts a comment; top5 may be empty.

    `method` is what a report calls it. Raises BadInput naming the line that is none of that.
    """
    label = printable(str(path))
    text = read_text(path)
    try:
        return _table(label, _without_comments(text))
    except csv.Error as error:
        raise BadInput(f"{label}: not a table of results: {error}") from None


def _without_comments(text: str) -> Iterator[str]:
    """The lines. One in the midst of a cell, which its quotes tell, is no comment."""
    in_cell = False
    for line in io.StringIO(text, newline=""):
        if in_cell or not line.startswith("#"):
            in_cell ^= line.count('"') % 2 == 1
            yield line


def _table(label: str, lines: Iterable[str]) -> Reference:
    rows = csv.DictReader(lines)
    if missing := [name for name in COLUMNS if name not in (rows.fieldnames or ())]:
        raise BadInput(f"{label}: not a table of results: it has no column {missing[0]!r}")
    reference = {}
    for row in rows:
        try:
            ratio, top1 = float(row["compression"]), float(row["top1"])
            top5 = None if row["top5"] == "" else float(row["top5"])
            if not all(map(math.isfinite, (ratio, top1, top5 or 0.0))):
                raise ValueError
            model, dataset, method = (text_of(row[name]) for name in COLUMNS[:3])
            reference[model, dataset, method, ratio] = Published(top1, top5)
        except (AttributeError, TypeError, ValueError):
            told = printable(",".join(map(str, row.values())))
            raise BadInput(f"{label}: {told:.200}: not a result") from None
    return reference


HEADINGS = ("method", "top-1 %", "reference", "top-5 %", "reference")


def compared(rows: list[Row], reference: Reference) -> list[tuple[float, list[list[str]]]]:
    """Our rows beside the reference's, under `HEADINGS`, for each compression that it has."""
    here = {(row.model, row.dataset) for row in rows}
    ratios = sorted({key[3] for key in reference if key[:2] in here})
    tables = [(r, [_cells(row, reference) for row in rows if row.compression == r]) for r in ratios]
    return [(ratio, table) for ratio, table in tables if table]


def _cells(row: Row, reference: Reference) -> list[str]:
    known = reference.get((row.model, row.dataset, row.method, row.compression))
    return [
        printable(row.method),
        row.percent("top1"),
        f"{known.top1:.2f}" if known else "",
        row.percent("top5"),
        f"{known.top5:.2f}" if known and known.top5 is not None else "",
    ]
