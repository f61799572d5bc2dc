"""What all figures share: size, colours, legend. The same results give the same bytes."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean, stdev
from textwrap import fill
from typing import Any

from prunecli.errors import printable
from prunecli.report.looks import Look
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
    from matplotlib.axes import Axes as Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator
    from matplotlib.ticker import MaxNLocator as MaxNLocator

STYLE: Any = {
    "svg.hashsalt": "prunecli",
    "svg.fonttype": "none",
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
MANY = 20
WIDE = 30
COLUMN = 2.5  # inches
LONGEST = 300
"""Characters of a name."""


@contextmanager
def panels(
    count: int = 1, *, across: int = 1, width: float = 7.2, height: float = 4.2
) -> Iterator[tuple[list[Axes], Callable[[], str]]]:
    """So many axes, in rows of so many, on a figure of that size in inches, and what ends it."""
    with mpl.rc_context({**OWN, **STYLE}):
        figure = Figure(figsize=(width, height), layout="constrained")
        down = -(-count // across)
        axes = [figure.add_subplot(down, across, place + 1) for place in range(count)]

        def svg() -> str:
            buffer = io.StringIO()
            with warnings.catch_warnings():  # of glyphs that its fonts lack: a browser has others
                warnings.simplefilter("ignore", UserWarning)
                figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
            text = buffer.getvalue()
            return text[text.index("<svg") :]

        yield axes, svg


@contextmanager
def canvas(width: float = 7.2, height: float = 4.2) -> Iterator[tuple[Axes, Callable[[], str]]]:
    with panels(width=width, height=height) as ([axes], svg):
        yield axes, svg


def means(
    axes: Axes, across: Sequence[float], values: list[list[float]], label: str, look: Look
) -> None:
    """Draw a line through the means of each point's values, with a bar where they spread."""
    spreads = [stdev(each) if len(each) > 1 else 0.0 for each in values]
    axes.errorbar(
        across,
        [fmean(each) for each in values],
        yerr=spreads if any(spreads) else None,
        capsize=3,
        label=listed(label),
        **look.line,
    )


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


def listed(label: str) -> str:
    """The label of a line that the legend is to list, as it does none that begins with '_'."""
    return f" {label}" if label.startswith("_") else label


def shown(name: str) -> str:
    """A name as a figure shows it: printable, and no longer than there is room for."""
    text = printable(name)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}\u2026"


def legend(axes: Axes) -> None:
    """Put a legend beside the lines, not on them; in columns, if it were higher than the figure.

    The figure grows by what further columns take, so that the lines keep their room.
    """
    handles, labels = axes.get_legend_handles_labels()
    wrapped = [fill(shown(label), WIDE) for label in labels]
    columns = 1 + sum(len(label.splitlines()) for label in wrapped) // MANY
    figure = axes.get_figure(root=True)
    if figure is not None:
        figure.set_figwidth(figure.get_figwidth() + COLUMN * (columns - 1))
    made = axes.legend(
        handles, wrapped, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5), ncols=columns
    )
    for text in made.get_texts():
        text.set_parse_math(False)
