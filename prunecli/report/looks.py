"""The look of each method's lines: the same in all figures of a page."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from prunecli.report.rows import Row

# Told apart by colour-blind readers (Okabe & Ito); past eight, strokes and markers go on telling.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999933"]
MARKERS = "osv^D<>PX*"
STROKES = ["-", "--", "-.", ":"]
GREYS = ["#777777", "#AAAAAA", "#444444"]
DOTTED = [":", "--", "-.", "-"]
"""The strokes of dense networks."""


@dataclass(frozen=True)
class Look:
    """What tells a line from others."""

    colour: str
    stroke: str
    marker: str = ""

    @property
    def line(self) -> dict[str, Any]:
        """As matplotlib is told it."""
        return {"color": self.colour, "linestyle": self.stroke, "marker": self.marker}

    @property
    def edge(self) -> dict[str, Any]:
        """The same of a line that has no markers."""
        return {"color": self.colour, "linestyle": self.stroke}

    @property
    def hollow(self) -> dict[str, Any]:
        """Of points without a line: what was published."""
        marker = {"marker": self.marker or "o", "markerfacecolor": "none", "markersize": 8}
        return {"color": self.colour, "linestyle": "none", **marker}


def numbered(number: int) -> Look:
    """The look of a line by its number; no two of the first 160 have the same."""
    return Look(
        COLOURS[number % len(COLOURS)],
        STROKES[number // len(COLOURS) % len(STROKES)],
        MARKERS[number % len(MARKERS)],
    )


@dataclass(frozen=True)
class Looks:
    """The places of all pruned methods of a page in its list of methods."""

    methods: tuple[str, ...]

    @classmethod
    def of(cls, rows: Iterable[Row], others: Iterable[str] = ()) -> Looks:
        """The methods of these rows, and others after them."""
        own = [row.method for row in rows if not row.is_dense]
        return cls(tuple(dict.fromkeys([*own, *others])))

    def look(self, method: str) -> Look:
        return numbered(self.methods.index(method))


def dense_look(number: int) -> Look:
    """The look of a dense network among those of its section."""
    shade = number // len(DOTTED) % len(GREYS)
    return Look(GREYS[shade], DOTTED[number % len(DOTTED)])
