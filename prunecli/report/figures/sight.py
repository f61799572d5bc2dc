"""The input of a figure: a section's rows, and their looks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from prunecli.report.figures.drawing import Panel
from prunecli.report.figures.looks import Look, Looks, dense_look
from prunecli.report.matching import Pair
from prunecli.report.rows import Row
from prunecli.report.view import View


@dataclass(frozen=True)
class Sight:
    """A view, with the looks of the page's methods."""

    view: View
    looks: Looks

    def look(self, row: Row) -> Look:
        """The look of a row's method, or of its place among the dense networks."""
        if row.is_dense:
            return dense_look(self.view.dense.index(row))
        return self.looks.look(row.method)

    def line(self, method: str) -> dict[str, Any]:
        """The arguments for matplotlib for a method's line."""
        return self.looks.look(method).line

    @staticmethod
    def titled(rows: list[Row], panel: Panel) -> list[tuple[str, Row]]:
        """The label of each row in a figure of these rows.

        If all pruned rows have the same compression, the panel's title says it instead.
        """
        ratios = {row.at for row in rows if not row.is_dense}
        if len(ratios) != 1:
            return [(row.title, row) for row in rows]
        panel.axes.set_title(f"at {ratios.pop()}", fontsize=9, loc="left")
        return [(row.method, row) for row in rows]

    def look_of(self, pair: Pair) -> Look:
        """The look of a published result: its row's, else its method's."""
        if pair.ours is not None:
            return self.look(pair.ours)
        assert pair.theirs is not None, "a pair has one at least"
        return self.looks.look(pair.theirs.method)


def sights(views: Iterable[View]) -> list[Sight]:
    """The views, with the same looks in all of them."""
    views = list(views)
    alone = [
        pair.theirs.method
        for view in views
        for pair in view.pairs
        if pair.theirs and pair.ours is None
    ]
    looks = Looks.of([row for view in views for row in view.everything], alone)
    return [Sight(view, looks) for view in views]
