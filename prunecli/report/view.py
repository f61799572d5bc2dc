"""What a figure is drawn of: the rows of a section, how they look, and what was published."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from prunecli.report.looks import Look, Looks, dense_look
from prunecli.report.matching import Pair, paired
from prunecli.report.reference import Reference
from prunecli.report.rows import Row, lines_of, measured, unpruned


@dataclass(frozen=True)
class View:
    """The rows of one model and data set, in a page whose methods have these looks."""

    everything: list[Row]
    looks: Looks
    pairs: tuple[Pair, ...] = ()
    """All that was published of the network, beside its rows."""

    @property
    def rows(self) -> list[Row]:
        """Those with an accuracy that means something."""
        return measured(self.everything)

    @property
    def critical(self) -> list[Row]:
        return [row for row in self.everything if row.is_critical]

    @property
    def dense(self) -> list[Row]:
        return [row for row in self.everything if row.is_dense]

    @property
    def unpruned(self) -> list[Row]:
        return unpruned(self.rows)

    @property
    def lines(self) -> dict[str, list[Row]]:
        return lines_of(self.rows)

    @property
    def most_pruned(self) -> list[Row]:
        """The row of each method at the highest compression that it reached."""
        return [line[-1] for line in self.lines.values()]

    @property
    def prunable(self) -> float:
        """The weights of the unpruned network, or of the first that is pruned."""
        return (self.unpruned or self.rows)[0].mean("prunable")

    def look(self, row: Row) -> Look:
        """That of its method, or of its place among the dense networks."""
        if row.is_dense:
            return dense_look(self.dense.index(row))
        return self.looks.look(row.method)

    def look_of(self, pair: Pair) -> Look:
        """The look of what was published: as its row has it."""
        if pair.ours is not None:
            return self.look(pair.ours)
        assert pair.theirs is not None, "a pair has one at least"
        return self.looks.look(pair.theirs.method)


def views(rows: list[Row], reference: Reference = ()) -> list[View]:
    """A view for each model and data set, with the same looks in all of them."""
    sections = [list(own) for _, own in groupby(rows, lambda row: row.section)]
    pairs = [tuple(paired(measured(own), reference)) for own in sections]
    looks = Looks.of(rows, _without_row(pair for own in pairs for pair in own))
    return [View(own, looks, beside) for own, beside in zip(sections, pairs, strict=True)]


def _without_row(pairs: Iterable[Pair]) -> list[str]:
    """The published methods that stand alone."""
    return [pair.theirs.method for pair in pairs if pair.theirs and pair.ours is None]
