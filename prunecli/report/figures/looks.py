"""The look of each method's line, the same in all figures of a page."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import Any

from prunecli.report.rows import Row

# Colour-blind readers can distinguish these: Okabe & Ito's, and Tol's wine and indigo. Each maps
# to a lighter one for dark pages.
DARK = {
    "#0072B2": "#4BA3E3", "#D55E00": "#FF8A3D", "#009E73": "#2FC79A", "#CC79A7": "#E29CC4",
    "#E69F00": "#F2B933", "#56B4E9": "#8ED0F5", "#000000": "#FFFFFF", "#999933": "#C5C55A",
    "#882255": "#D06A9E", "#332288": "#9C8CF0",
    "#777777": "#999999", "#AAAAAA": "#6E6E6E", "#444444": "#C4C4C4",
}  # fmt: skip
COLOURS, GREYS = [*DARK][:10], [*DARK][10:]
MARKERS = "osv^D<>PX*"
STROKES = ["-", "--", "-.", ":"]
DOTTED = [":", "--", "-.", "-"]
"""The strokes of dense networks."""


@dataclass(frozen=True)
class Look:
    """Colour, stroke and marker of a line."""

    colour: str
    stroke: str
    marker: str = ""

    @property
    def line(self) -> dict[str, Any]:
        """The arguments for matplotlib for a line with markers."""
        return {"color": self.colour, "linestyle": self.stroke, "marker": self.marker}

    @property
    def edge(self) -> dict[str, Any]:
        """Those for a line without markers."""
        return {"color": self.colour, "linestyle": self.stroke}

    @property
    def point(self) -> dict[str, Any]:
        """Those for markers without a line."""
        return {"color": self.colour, "linestyle": "none", "marker": self.marker or "o"}

    @property
    def hollow(self) -> dict[str, Any]:
        """Those for published results: hollow markers without a line."""
        return {**self.point, "markerfacecolor": "none", "markersize": 8}


@dataclass(frozen=True)
class Looks:
    """The looks of a page's pruned methods."""

    of_method: dict[str, Look]

    @classmethod
    def of(cls, rows: Iterable[Row], others: Iterable[str] = ()) -> Looks:
        """The looks of the methods of these rows, then of the other methods.

        Methods with the same scorer or pruner, such as GlobalMag and LayerMag, share a colour and
        differ in stroke, while there are strokes. The first 40 all look different, even without
        colour: they differ in stroke or marker.
        """
        families = {row.method: row.first.method or "" for row in rows if not row.is_dense}
        families |= {method: method for method in others if method not in families}
        hue: dict[str, str] = {}
        taken: set[tuple[str, str]] = set()  # strokes with a colour, and with a marker
        looks: dict[str, Look] = {}
        for number, (method, family) in enumerate(families.items()):
            unused = [p for p in product(STROKES, COLOURS) if p not in taken] or [("-", "#000000")]
            stroke, colour = next((p for p in unused if p[1] == hue.get(family)), unused[0])
            hue.setdefault(family, colour)
            start = number % len(MARKERS)
            order = MARKERS[start:] + MARKERS[:start]
            marker = next((m for m in order if (stroke, m) not in taken), order[0])
            taken |= {(stroke, colour), (stroke, marker)}
            looks[method] = Look(colour, stroke, marker)
        return cls(looks)

    @classmethod
    def numbered(cls, names: Iterable[str]) -> Looks:
        """The looks of lines that are not methods, by their order."""
        return cls.of((), names)

    def look(self, method: str) -> Look:
        return self.of_method[method]


def dense_look(number: int) -> Look:
    """The look of a dense network, by its place in its section."""
    shade = number // len(DOTTED) % len(GREYS)
    return Look(GREYS[shade], DOTTED[number % len(DOTTED)])
