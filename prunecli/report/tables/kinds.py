"""The tables that there are: what makes each of a section."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prunecli.report.tables import table as tables
from prunecli.report.tables.equal_loss import at_equal_loss
from prunecli.report.tables.full import full
from prunecli.report.tables.pivot import REACHED, accuracy, compute, pivot
from prunecli.report.tables.published import published
from prunecli.report.tables.table import Table
from prunecli.report.view import View
from prunecli.settings.report import LOSSES

TABLES: dict[str, Callable[[View, Sequence[float]], Table]] = {
    "top1": lambda view, losses: pivot(view, accuracy("top1", "Test top-1, %")),
    "top5": lambda view, losses: pivot(view, accuracy("top5", "Test top-5, %")),
    "reached": lambda view, losses: pivot(view, REACHED),
    "flops": lambda view, losses: pivot(view, compute(view)),
    "equal-loss": lambda view, losses: at_equal_loss(view.rows, losses),
    "published": lambda view, losses: published(view.pairs),
    "rows": lambda view, losses: full(view.everything),
}
"""By the names of `settings.report`."""
FULL = ("published", "rows")


def pivots(view: View) -> list[str]:
    """The tables that a page shows: that of what was reached where this is not what was asked."""
    missed = any(not (row.is_met or row.is_dense) for row in view.rows)
    return ["top1", "top5", *["reached"] * missed, "flops", "equal-loss"]


def table_of(view: View, name: str, losses: Sequence[float] = LOSSES) -> Table | None:
    """A table of a section; None if it would be empty."""
    table = TABLES[name](view, losses)
    return table if table.lines else None


FORMS: dict[str, Callable[[Table], str]] = {
    "table": tables.as_section,
    "markdown": tables.as_markdown,
    "latex": tables.as_latex,
}
"""What writes a table in a format."""
