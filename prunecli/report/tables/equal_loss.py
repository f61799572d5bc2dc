"""The compression that each method reaches at equal losses of accuracy."""

from __future__ import annotations

from collections.abc import Sequence

from prunecli.errors import printable
from prunecli.report.equal_loss import against_best, at_losses
from prunecli.report.rows import Row
from prunecli.report.tables.table import Table, plain

NOTE = (
    "Interpolated between measured ratios, on a logarithmic scale. ≥: no more was lost at the "
    "highest ratio. ≤: more was lost at the only ratio, or another method may go further."
)


def at_equal_loss(rows: list[Row], losses: Sequence[float]) -> Table:
    """A line per method; none unless there is one unpruned network."""
    reached = at_losses(rows, losses)
    headings = [text for loss in losses for text in (f"at {loss:g} lost", "of the best other")]
    lines = []
    for method, own in reached.items():
        cells = [printable(method)]
        for loss in losses:
            best = against_best(method, {name: each[loss] for name, each in reached.items()})
            cells += [str(own[loss]), str(best or "")]
        lines.append(cells)
    title = "Compression at equal loss of top-1"
    return Table(title, ["method", *headings], plain(lines), [NOTE])
