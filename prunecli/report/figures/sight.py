"""What a figure is drawn of: the rows of a section, and how their lines look."""

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
    """A view, in a page whose methods have these looks."""

    view: View
    looks: Looks

    def look(self, row: Row) -> Look:
        """That of its method, or of its place among the dense networks."""
        if row.is_dense:
            return dense_look(self.view.dense.index(row))
        return self.looks.look(row.method)

    def line(self, method: str) -> dict[str, Any]:
        """The arguments for matplotlib of the line of a method."""
        return self.looks.look(method).line

    @staticmethod
    def titled(rows: list[Row], panel: Panel) -> list[tuple[str, Row]]:
        """What each row is called in a figure of these.

        Where all that are pruned have the same compression, it is said once, above the panel.
        """
        ratios = {row.at for row in rows if not row.is_dense}
        if len(ratios) != 1:
            return [(row.title, row) for row in rows]
        panel.axes.set_title(f"at {ratios.pop()}", fontsize=9, loc="left")
        return [(row.method, row) for row in rows]

    def look_of(self, pair: Pair) -> Look:
        """The look of what was published: as its row has it."""
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
