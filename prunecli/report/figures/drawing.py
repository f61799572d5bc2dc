"""What all figures share: size, lines, legend, files. The same results give the same bytes."""

from __future__ import annotations

import io
import math
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean, stdev
from textwrap import fill
from typing import Any

from prunecli.errors import printable
from prunecli.report.rows import rounded


@contextmanager
def _at_home() -> Iterator[None]:
    """Have the current folder, within, be where matplotlib has its own settings.

    When it is imported, it takes those of a `matplotlibrc` in the current folder. That may have
    come with a recipe, and can name a backend, which is code, or LaTeX to run; or be a pipe.
    """
    spec = find_spec("matplotlib")
    # Its path may have come to be another folder's, and it need not be readable.
    before = os.open(".", getattr(os, "O_PATH", os.O_RDONLY) | os.O_CLOEXEC)
    try:
        if spec and spec.origin:
            os.chdir(Path(spec.origin).with_name("mpl-data"))
        yield
    finally:
        os.fchdir(before)
        os.close(before)


with _at_home():
    import matplotlib as mpl
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes as Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import LogLocator
    from matplotlib.ticker import MaxNLocator as MaxNLocator

STYLE: Any = {
    "svg.hashsalt": "prunecli",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,  # TrueType, as publishers ask
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
}
OWN: Any = {name: value for name, value in mpl.rcParamsDefault.items() if name != "backend"}
"""What matplotlib comes with, whatever a user, or code that is not ours, has set."""
WIDTH, HEIGHT = 5.6, 3.6
"""Inches of a figure without its legend: its text can be read on a phone."""
MANY = 20
"""Lines of text in a column of the legend."""
WIDE = 30
"""Characters in a line of the legend."""
COLUMN = 2.2
"""Inches of a column of the legend."""
LONGEST = 300
"""Characters of a name."""
PERCENT = (0.0, 100.0)
"""The limits of a share in percent."""


@dataclass
class Key:
    """An entry of the legend, and the points of the line that it names."""

    number: int
    style: dict[str, Any]
    axes: Axes
    points: list[tuple[float, float]]

    @property
    def depth(self) -> float:
        """How far down in the figure its line lies in the mean; infinite if it has no line."""
        if not self.points:
            return math.inf
        return -fmean(float(y) for _, y in self.axes.transData.transform(self.points))


@dataclass
class Panel:
    """A plot of a figure. What it draws is listed in the figure's legend, under its label."""

    axes: Axes
    keys: dict[str, Key]

    def line(
        self, across: Sequence[float], values: Sequence[float], label: str, style: dict[str, Any],
        **more: Any,
    ) -> None:  # fmt: skip
        """Draw a line through these points."""
        drawn = self.axes.plot(across, values, **style, **more)
        self.listing(label, style, drawn, across, values)

    def means(
        self, across: Sequence[float], values: list[list[float]], label: str, style: dict[str, Any],
        limits: tuple[float, float] = (-math.inf, math.inf),
    ) -> None:  # fmt: skip
        """Draw a line through the means of each point's values, with their standard deviations.

        Bars end at the limits, beyond which no value can lie.
        """
        spreads = [stdev(each) if len(each) > 1 else 0.0 for each in values]
        means = [fmean(each) for each in values]
        points = list(zip(spreads, means, strict=True))  # a mean may be 100 + 1e-14
        down = [max(min(std, mean - limits[0]), 0) for std, mean in points]
        up = [max(min(std, limits[1] - mean), 0) for std, mean in points]
        spread = (down, up) if any(spreads) else None
        drawn = self.axes.errorbar(across, means, yerr=spread, capsize=3, **style)
        self.listing(label, style, drawn.get_children(), across, means)

    def level(self, value: float, label: str, style: dict[str, Any]) -> None:
        """Draw a horizontal line."""
        drawn = self.axes.axhline(value, **style)
        self.listing(label, style, [drawn], [1.0], [value])

    def steps(
        self, values: Sequence[float], edges: Sequence[float], label: str, style: dict[str, Any]
    ) -> None:
        """Draw the outline of a histogram."""
        self.listing(label, style, [self.axes.stairs(values, edges, **style)])

    def belongs(self, label: str, drawn: Iterable[Artist]) -> None:
        """Have these be switched with the line of that label, if it is in the legend."""
        if key := self.keys.get(label):
            for artist in drawn:
                artist.set_gid(f"key-{key.number}")

    def listing(
        self,
        label: str,
        style: dict[str, Any],
        drawn: Iterable[Artist],
        across: Sequence[float] = (),
        values: Sequence[float] = (),
    ) -> None:
        """Put the label into the legend, with the points of its line."""
        points = [(x, y) for x, y in zip(across, values, strict=True) if not math.isnan(y)]
        self.keys.setdefault(label, Key(len(self.keys), style, self.axes, points))
        self.belongs(label, drawn)

    def note(self, label: str, text: str, at: tuple[float, float], offset: Any) -> None:
        """Write a small text beside a point of the line of that label."""
        made = self.axes.annotate(
            text, at, xytext=offset, textcoords="offset points", fontsize=8, parse_math=False
        )
        self.belongs(label, [made])


@dataclass
class Drawing:
    """A figure, of one panel or several, that share a legend."""

    figure: Figure
    panels: list[Panel]
    keys: dict[str, Key] = field(default_factory=dict)

    @property
    def listed(self) -> list[tuple[str, Key]]:
        """The labels of the legend, from the highest line to the lowest."""
        return sorted(self.keys.items(), key=lambda item: item[1].depth)

    def svg(self) -> str:
        """The figure with its legend, as a file of its own."""
        with self._legend():
            return self._text()

    def pdf(self) -> bytes:
        """The same as PDF."""
        told = {"CreationDate": None, "Creator": None, "Producer": None}
        with self._legend():
            return self._saved(format="pdf", metadata=told)

    def plain(self) -> str:
        """The figure as SVG, transparent and without a legend, as a part of a page."""
        return self._text(transparent=True)

    def _text(self, **how: Any) -> str:
        told = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        text = self._saved(format="svg", metadata=told, **how).decode()
        # A label may be of several artists, so its mark is a class, of which there can be many.
        return re.sub(r'<g id="(key-\d+)"', r'<g class="\1"', text[text.index("<svg") :])

    def _saved(self, **how: Any) -> bytes:
        buffer = io.BytesIO()
        with mpl.rc_context({**OWN, **STYLE}), warnings.catch_warnings():
            # Of glyphs that its fonts lack: a browser has others.
            warnings.simplefilter("ignore", UserWarning)
            self.figure.savefig(buffer, **how)
        return buffer.getvalue()

    @contextmanager
    def _legend(self) -> Iterator[None]:
        """Put the legend beside the panels; the figure grows by what it takes."""
        width = self.figure.get_figwidth()
        labels = [fill(shown(label), WIDE) for label, _ in self.listed]
        columns = 1 + sum(len(label.splitlines()) for label in labels) // MANY
        with mpl.rc_context({**OWN, **STYLE}):
            self.figure.set_figwidth(width + COLUMN * columns)
            legend = self.figure.legend(
                [Line2D([], [], **key.style) for _, key in self.listed], labels,
                fontsize=8, loc="outside right center", ncols=columns,
            )  # fmt: skip
            for text in legend.get_texts():
                text.set_parse_math(False)
        try:
            yield
        finally:
            legend.remove()
            self.figure.set_figwidth(width)


@contextmanager
def panels(
    count: int = 1, *, across: int = 1, width: float = WIDTH, height: float = HEIGHT
) -> Iterator[Drawing]:
    """A figure of that size in inches, with so many panels in rows of so many."""
    with mpl.rc_context({**OWN, **STYLE}):
        figure = Figure(figsize=(width, height), layout="constrained")
        drawing = Drawing(figure, [])
        down = -(-count // across)
        for place in range(count):
            axes = figure.add_subplot(down, across, place + 1)
            drawing.panels.append(Panel(axes, drawing.keys))
        yield drawing


@contextmanager
def plot(width: float = WIDTH, height: float = HEIGHT) -> Iterator[tuple[Drawing, Panel]]:
    """A figure with one panel."""
    with panels(width=width, height=height) as drawing:
        yield drawing, drawing.panels[0]


def ratio_ticks(axes: Axes, ratios: list[float]) -> None:
    """Mark the axis of compressions, in powers of two, at these ratios, as people write them.

    Where there is none but 1, it is marked evenly instead.
    """
    axes.set_xscale("log", base=2)
    if max(ratios, default=1) > 1:
        axes.set_xticks(ratios, [rounded(ratio) for ratio in ratios])
    else:
        low, high = axes.get_xlim()
        axes.xaxis.set_major_locator(
            MaxNLocator(6) if high < 8 * low else LogLocator(base=2, numticks=8)
        )
        axes.xaxis.set_major_formatter(lambda ratio, _: rounded(ratio))
    axes.minorticks_off()


def shown(name: str) -> str:
    """A name as a figure shows it: printable, and no longer than there is room for."""
    text = printable(name)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}\u2026"
