"""The rows of a section of a report, and what was published beside them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, groupby

from prunecli.report.matching import Pair, paired
from prunecli.report.noise import has_collapsed
from prunecli.report.reference import Reference
from prunecli.report.rows import Row, lines_of, measured, unpruned


@dataclass(frozen=True)
class View:
    """The rows of one model and data set."""

    everything: list[Row]
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
        """The row of each method at the highest compression that tells something.

        That is the highest at which half of the methods do more than guess, if there is one.
        """
        lines = self.lines.values()
        at: dict[float, list[bool]] = {}
        for row in chain(*lines):
            if not row.is_free:  # each of these has a ratio of its own
                at.setdefault(row.compression, []).append(not has_collapsed(row))
        telling = [ratio for ratio, living in at.items() if 2 * sum(living) >= len(living)]
        limit = max(telling or at, default=1.0)
        own = [[row for row in line if row.is_free or row.compression <= limit] for line in lines]
        return [(some or line)[-1] for some, line in zip(own, lines, strict=True)]

    @property
    def prunable(self) -> float:
        """The weights of the unpruned network, or of the first that is pruned."""
        return (self.unpruned or self.rows or self.everything)[0].mean("prunable")

    @property
    def title(self) -> str:
        """Network and data."""
        return " on ".join(self.everything[0].section)


def views(rows: list[Row], reference: Reference = ()) -> list[View]:
    """A view for each model and data set."""
    sections = [list(own) for _, own in groupby(rows, lambda row: row.section)]
    return [View(own, tuple(paired(measured(own), reference))) for own in sections]
