"""Figures of what happens in the course of a training, as SVG text."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from prunecli.report.canvas import (
    COLOURS,
    MANY,
    STROKES,
    Axes,
    MaxNLocator,
    canvas,
    legend,
    listed,
    look,
)
from prunecli.report.rows import Row, lines_of, rounded
from prunecli.types import REACH


def convergence(rows: list[Row]) -> str:
    """Training loss over epochs, of the first seed: a colour per method, a stroke per ratio.

    Where there are more methods than colours, more ratios than strokes or more rows than `MANY`,
    only each method's highest compression is drawn, and strokes tell methods of one colour apart.
    """
    dense = [row for row in rows if row.is_dense]
    lines = list(lines_of(rows).values())
    ratios = sorted({row.compression for line in lines for row in line})
    strokes = {ratio: stroke for stroke, ratio in enumerate(ratios)}
    if len(lines) > len(COLOURS) or len(ratios) > len(STROKES) or len(rows) > MANY:
        lines, strokes = [line[-1:] for line in lines], {}
    drawn = [(row, "grey", place) for place, row in enumerate(dense)] + [
        (row, COLOURS[place % len(COLOURS)], strokes.get(row.compression, place // len(COLOURS)))
        for place, line in enumerate(lines)
        for row in line
    ]
    with canvas() as (axes, svg):
        for row, colour, stroke in drawn:
            history = _history(row)
            axes.plot(
                [entry["epoch"] for entry in history],
                [entry["loss"] for entry in history],
                label=_name(row),
                color=colour,
                linestyle=STROKES[stroke % len(STROKES)],
            )
        axes.set_yscale("log")
        _epochs(axes)
        axes.set_ylabel("training loss")
        legend(axes)
        return svg()


def accuracy(rows: list[Row]) -> str:
    """Test accuracy over epochs, of the first seed, where it was measured."""
    with canvas() as (axes, svg):
        for place, row in enumerate(evaluated_in_training(rows)):
            history = _history(row)
            axes.plot(
                [entry["epoch"] for entry in history],
                [entry["top1"] for entry in history],
                label=_name(row),
                **look(place) | {"marker": ""},
            )
        _epochs(axes)
        axes.set_ylabel("test top-1, %")
        legend(axes)
        return svg()


def weights(rows: list[Row]) -> str:
    """How the weights were spread before the last threshold, in standard deviations of a layer."""
    with canvas() as (axes, svg):
        for place, row in enumerate(with_weights(rows)):
            spread = _history(row)[-1]["weights"]
            edges = [-REACH + 2 * REACH * bin / len(spread) for bin in range(len(spread) + 1)]
            share = [100 * count / sum(spread) for count in spread]
            axes.stairs(share, edges, label=_name(row), color=look(place)["color"])
        axes.set_yscale("log")
        axes.set_xlabel("weight, in standard deviations of its layer")
        axes.set_ylabel("share of the weights, %")
        legend(axes)
        return svg()


def evaluated_in_training(rows: list[Row]) -> list[Row]:
    """Dense networks, and the highest compression of each method, with an accuracy per epoch."""
    last = [row for row in rows if row.is_dense] + [line[-1] for line in lines_of(rows).values()]
    return [
        row for row in last if len(_history(row)) > 1 and all("top1" in e for e in _history(row))
    ]


def with_weights(rows: list[Row]) -> list[Row]:
    """The highest compression of each method that says how its weights were spread."""
    last = [line[-1] for line in lines_of(rows).values()]
    return [row for row in last if _history(row) and any(_history(row)[-1].get("weights", []))]


def sparsity(rows: list[Row]) -> str:
    """Sparsity over epochs, of the first seed, where it changes while training."""
    with canvas() as (axes, svg):
        for place, row in enumerate(pruned_in_training(rows)):
            history = _history(row)
            axes.plot(
                [entry["epoch"] for entry in history],
                [100 * (1 - entry["density"]) for entry in history],
                label=_name(row),
                **look(place),
            )
        _epochs(axes)
        axes.set_ylabel("sparsity, %")
        legend(axes)
        return svg()


def pruned(rows: list[Row]) -> str:
    """Weights pruned in each epoch, of the first seed, where that is done while training."""
    with canvas() as (axes, svg):
        for place, row in enumerate(pruned_in_training(rows)):
            history, total = _history(row), row.results[0]["prunable"]
            densities = [1.0, *(entry["density"] for entry in history)]
            axes.plot(
                [entry["epoch"] for entry in history],
                [total * (before - after) for before, after in pairwise(densities)],
                label=_name(row),
                **look(place),
            )
        axes.set_yscale("symlog", linthresh=10)
        _epochs(axes)
        axes.set_ylabel("weights pruned in the epoch")
        legend(axes)
        return svg()


def pruned_in_training(rows: list[Row]) -> list[Row]:
    """The highest compression of each method whose density changes from epoch to epoch."""
    last = [line[-1] for line in lines_of(rows).values()]
    densities = [[entry.get("density") for entry in _history(row)] for row in last]
    return [
        row
        for row, own in zip(last, densities, strict=True)
        if None not in own and len(set(own)) > 1
    ]


def _history(row: Row) -> list[dict[str, Any]]:
    return row.results[0].get("history") or []


def _name(row: Row) -> str:
    return row.method if row.is_dense else listed(f"{row.method} {rounded(row.compression)}x")


def _epochs(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
