"""The figures of a report, as SVG text. The same results give the same bytes."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from prunecli.report.rows import Row

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
# Told apart by colour-blind readers (Okabe & Ito); past eight lines the markers go on telling.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999933"]
MARKERS = "osv^D<>PX*"
STROKES = ["-", "--", "-.", ":"]
MANY = 24


@contextmanager
def _canvas(width: float = 7.2, height: float = 4.2) -> Iterator[tuple[Axes, Callable[[], str]]]:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.add_subplot()

        def svg() -> str:
            buffer = io.StringIO()
            figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
            text = buffer.getvalue()
            return text[text.index("<svg") :]

        yield axes, svg


def _look(place: int) -> dict[str, Any]:
    return {
        "color": COLOURS[place % len(COLOURS)],
        "marker": MARKERS[place % len(MARKERS)],
        "linestyle": "-" if place < len(COLOURS) else "--",
    }


def _compression_axis(axes: Axes, ratios: list[float]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(ratios, [f"{ratio:g}" for ratio in ratios])
    axes.minorticks_off()
    axes.set_xlabel("compression (all weights / kept weights)")


def _legend(axes: Axes) -> None:
    """Beside the lines, not on them; in columns, if it would be higher than the figure."""
    count = len(axes.get_legend_handles_labels()[0])
    columns = 1 + count // MANY
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5), ncols=columns)


def _lines(rows: list[Row]) -> dict[str, list[Row]]:
    lines: dict[str, list[Row]] = {}
    for row in rows:
        if not row.is_dense:
            lines.setdefault(row.method, []).append(row)
    return lines


def accuracy(rows: list[Row], key: str) -> str:
    """Accuracy over compression: a line per method, a bar for the spread over seeds.

    Lines start at the unpruned network, if there is just one.
    """
    dense = [row for row in rows if row.is_dense]
    with _canvas() as (axes, svg):
        for row in dense:
            axes.axhline(row.mean(key), color="grey", linestyle=":", label=row.method)
        for place, (method, pruned) in enumerate(_lines(rows).items()):
            line = dense + pruned if len(dense) == 1 else pruned
            axes.errorbar(
                [row.compression for row in line],
                [row.mean(key) for row in line],
                yerr=[row.spread(key) for row in line],
                capsize=3,
                label=method,
                **_look(place),
            )
        _compression_axis(axes, sorted({row.compression for row in rows}))
        axes.set_ylabel("test top-1, %" if key == "top1" else "test top-5, %")
        _legend(axes)
        return svg()


def compression_error(rows: list[Row]) -> str:
    """(reached - asked) / asked over compression: how exactly a mask meets what was asked."""
    with _canvas(height=3.0) as (axes, svg):
        for place, (method, line) in enumerate(_lines(rows).items()):
            ratios = [row.compression for row in line]
            errors = [100 * row.mean("compression_error") for row in line]
            axes.plot(ratios, errors, label=method, **_look(place))
        _compression_axis(axes, sorted({row.compression for row in rows}))
        low, high = axes.get_ylim()
        axes.set_ylim(min(low, -1), max(high, 1))
        axes.set_ylabel("compression error, %")
        _legend(axes)
        return svg()


def layer_density(rows: list[Row]) -> str:
    """The density that each method leaves each layer, at its highest compression."""
    with _canvas() as (axes, svg):
        for place, (method, line) in enumerate(_lines(rows).items()):
            layers = line[-1].results[0]["layers"]
            kept = [layer["kept"] / layer["total"] for layer in layers]
            label = f"{method} at {line[-1].compression:g}x"
            axes.plot(range(len(layers)), kept, label=label, **_look(place))
            names = [layer["name"].removesuffix(".weight") for layer in layers]
            step = -(-len(names) // 24)
            axes.set_xticks(range(0, len(names), step), names[::step], rotation=60, ha="right")
        axes.set_yscale("log")
        axes.set_ylabel("density (kept / all)")
        _legend(axes)
        return svg()


def convergence(rows: list[Row]) -> str:
    """Training loss over epochs, of the first seed: a colour per method, a stroke per ratio.

    Of more than `MANY` rows, only each method's highest compression is drawn.
    """
    methods = list(_lines(rows))
    if len(rows) > MANY:
        rows = [row for row in rows if row.is_dense] + [line[-1] for line in _lines(rows).values()]
    ratios = sorted({row.compression for row in rows})
    with _canvas() as (axes, svg):
        for row in rows:
            history = row.results[0].get("history") or []
            place = 0 if row.is_dense else methods.index(row.method)
            axes.plot(
                [entry["epoch"] for entry in history],
                [entry["loss"] for entry in history],
                label=row.method if row.is_dense else f"{row.method} {row.compression:g}x",
                color="grey" if row.is_dense else COLOURS[place % len(COLOURS)],
                linestyle=STROKES[
                    (ratios.index(row.compression) + place // len(COLOURS)) % len(STROKES)
                ],
            )
        axes.set_yscale("log")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("epoch")
        axes.set_ylabel("training loss")
        _legend(axes)
        return svg()
