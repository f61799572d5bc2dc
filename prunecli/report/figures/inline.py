"""Figures inside a page: in its colours, with a legend that switches lines on and off."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from prunecli.report.figures.drawing import Drawing, Key, shown
from prunecli.report.figures.looks import DARK

FOREGROUND, GRID = "#000000", "#b0b0b0"
DASHES = {"--": "6 3", "-.": "7 2 2 2", ":": "2 2"}
BOX = 6.0
"""The height and half the width of a line's sample."""


@dataclass(frozen=True)
class Entry:
    """A line's entry in the page's legend."""

    number: int
    label: str
    sample: str
    """The line and its marker, as SVG."""


@dataclass(frozen=True)
class Inline:
    """A figure in a page."""

    svg: str
    entries: list[Entry]
    is_wide: bool
    """Whether it takes the width of the page, with its legend below."""


def inline(drawing: Drawing, number: int) -> Inline:
    """A drawing as a figure of a page.

    Its number makes its ids unique in the page. Ids without references are removed.
    """
    svg = drawing.plain()
    used = set(re.findall(r'(?:href="#|url\(#)([^")]*)', svg))

    def tag(found: re.Match[str]) -> str:
        text = re.sub(r' id="([^"]*)"', lambda i: i[0] if i[1] in used else "", found[0])
        text = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>f{number}-", text)
        return re.sub(r"(?<=[:\s])#[0-9a-f]{6}", lambda colour: paint(colour[0]), text)

    svg = re.sub("<[^>]*>", tag, svg)
    svg = re.sub(r'^<svg (.*?)width="[^"]*" height="[^"]*"', r"<svg \1", svg, count=1)
    entries = [_entry(label, key) for label, key in drawing.listed]
    return Inline(svg, entries, is_wide=len(drawing.panels) > 1)


def paint(colour: str) -> str:
    """The page's CSS for a colour that has a dark variant; else the colour itself."""
    if colour == FOREGROUND:
        return "currentColor"
    if colour == GRID:
        return "var(--grid)"
    return f"var({variable(colour)})" if colour.upper() in DARK else colour


def variable(colour: str) -> str:
    return f"--c{colour[1:].lower()}"


def _entry(label: str, key: Key) -> Entry:
    style = key.style
    colour = paint(str(style["color"]).lower())
    line = ""
    if style["linestyle"] != "none":
        dashes = DASHES.get(style["linestyle"])
        dashed = f' stroke-dasharray="{dashes}"' * bool(dashes)
        line = f'<path d="M-{2 * BOX:g} 0H{2 * BOX:g}"{dashed}/>'
    filled = "none" if style.get("markerfacecolor") == "none" else colour
    mark = f'<path d="{_outline(style.get("marker"))}" fill="{filled}"/>'
    sample = (
        f'<svg class="sample" viewBox="-13 -{BOX:g} 26 {2 * BOX:g}" stroke="{colour}" '
        f'aria-hidden="true">{line}{mark if style.get("marker") else ""}</svg>'
    )
    return Entry(key.number, shown(label), sample)


def _outline(marker: Any) -> str:
    """The outline of a matplotlib marker as an SVG path."""
    from matplotlib.markers import MarkerStyle

    style = MarkerStyle(marker or "")
    shapes: Any = style.get_path().transformed(style.get_transform()).to_polygons(closed_only=False)
    size = 0.5 * BOX
    return "".join(
        "M" + "L".join(f"{size * 2 * x:.1f} {-size * 2 * y:.1f}" for x, y in shape) + "Z"
        for shape in shapes
    )
