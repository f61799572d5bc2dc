"""Published results, or those of an earlier report, for comparison."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from prunecli.errors import BadInput, printable
from prunecli.files.texts import read_text
from prunecli.report.tables.table import text_of

COLUMNS = ("model", "dataset", "method", "compression", "top1", "top5")
MORE = ("reached", "parameters", "note")
"""Optional columns."""
OURS = {"reached": "empirical_compression", "parameters": "nonzero"}
"""Their names in `report --format csv`."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """A published result. Accuracies are in percent; what was not published is None."""

    model: str
    dataset: str
    method: str
    compression: float | None = None
    """The target compression."""
    top1: float | None = None
    top5: float | None = None
    reached: float | None = None
    """The compression reached."""
    parameters: float | None = None
    """The number of weights left."""
    note: str = ""

    def __post_init__(self) -> None:
        sizes = (self.compression, self.reached, self.parameters)
        if (self.top1, self.top5) == (None, None) or sizes == (None, None, None):
            raise ValueError("it says no accuracy, or not of how many weights")
        if any(size is not None and size <= 0 for size in sizes):
            raise ValueError("it has no weight")
        if any(top is not None and not 0 <= top <= 100 for top in (self.top1, self.top5)):
            raise ValueError("its accuracy is no percentage")


Reference = tuple[Published, ...]


def read_reference(path: Path) -> Reference:
    """The results in a CSV with at least `COLUMNS`, such as `report --format csv` writes.

    '#' starts a comment line. `method` is a report's name for it, or a shorter one; see `matching`.
    Cells may be empty, but each row needs an accuracy and one of `compression`, `reached` and
    `parameters`. Raises BadInput naming the wrong row.
    """
    label = printable(str(path))
    text = read_text(path)
    try:
        return _table(label, _without_comments(text))
    except csv.Error as error:
        raise BadInput(f"{label}: not a table of results: {error}") from None


def _without_comments(text: str) -> Iterator[str]:
    """The lines without comments; a line inside a quoted cell is none."""
    in_cell = False
    for line in io.StringIO(text, newline=""):
        if in_cell or not line.startswith("#"):
            in_cell ^= line.count('"') % 2 == 1
            yield line


def _table(label: str, lines: Iterable[str]) -> Reference:
    rows = csv.DictReader(lines)
    if missing := [name for name in COLUMNS if name not in (rows.fieldnames or ())]:
        raise BadInput(f"{label}: not a table of results: it has no column {missing[0]!r}")
    reference = []
    for row in rows:
        try:
            if None in row:  # more cells than headings, such as for an unquoted comma
                raise ValueError(row)
            reference.append(_published(row))
        except (AttributeError, TypeError, ValueError):
            told = printable(",".join(map(str, row.values())))
            raise BadInput(f"{label}: {told:.200}: not a result") from None
    return tuple(reference)


def _published(row: Mapping[str, str]) -> Published:
    model, dataset, method = (text_of(row[name]) for name in COLUMNS[:3])
    compression, top1, top5 = (_number(row[name]) for name in COLUMNS[3:])
    reached, parameters = (
        _number(row.get(name) or row.get(ours) or "") for name, ours in OURS.items()
    )
    return Published(
        model=model,
        dataset=dataset,
        method=method,
        compression=compression,
        top1=top1,
        top5=top5,
        reached=reached,
        parameters=parameters,
        note=text_of(row.get("note") or ""),
    )


def _number(cell: str) -> float | None:
    """A cell's number; None if it is empty. Raises ValueError if it is no finite number."""
    if cell.strip() == "":
        return None
    if not math.isfinite(number := float(cell)):
        raise ValueError(cell)
    return number
