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
from prunecli.report.rows import Row, lines_of, most_pruned, rounded
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
    drawn = [(row, "grey", number) for number, row in enumerate(dense)] + [
        (row, COLOURS[number % len(COLOURS)], strokes.get(row.compression, number // len(COLOURS)))
        for number, line in enumerate(lines)
        for row in line
    ]
    with canvas() as (axes, svg):
        for row, colour, stroke in drawn:
            losses = [epoch.loss for epoch in row.history]
            _course(axes, row, losses, color=colour, linestyle=STROKES[stroke % len(STROKES)])
        axes.set_yscale("log")
        axes.set_ylabel("training loss")
        legend(axes)
        return svg()


def accuracy(rows: list[Row]) -> str:
    """Test accuracy over epochs, of the first seed, where it was measured."""
    with canvas() as (axes, svg):
        for number, row in enumerate(evaluated_in_training(rows)):
            _course(axes, row, _accuracies(row), **look(number) | {"marker": ""})
        axes.set_ylabel("test top-1, %")
        legend(axes)
        return svg()


def weights(rows: list[Row]) -> str:
    """The spread of weights before the last threshold, in standard deviations of a layer."""
    with canvas() as (axes, svg):
        for number, row in enumerate(with_weights(rows)):
            spread = row.history[-1].weights or ()
            edges = [-REACH + 2 * REACH * bin / len(spread) for bin in range(len(spread) + 1)]
            share = [100 * count / sum(spread) for count in spread]
            axes.stairs(share, edges, label=_name(row), color=look(number)["color"])
        axes.set_yscale("log")
        axes.set_xlabel("weight, in standard deviations of its layer")
        axes.set_ylabel("share of the weights, %")
        legend(axes)
        return svg()


def sparsity(rows: list[Row]) -> str:
    """Sparsity over epochs, of the first seed, where it changes while training."""
    with canvas() as (axes, svg):
        for number, row in enumerate(pruned_in_training(rows)):
            sparsities = [100 * (1 - density) for density in _densities(row)]
            _course(axes, row, sparsities, **look(number))
        axes.set_ylabel("sparsity, %")
        legend(axes)
        return svg()


def pruned(rows: list[Row]) -> str:
    """Weights pruned in each epoch, of the first seed, where that is done while training."""
    with canvas() as (axes, svg):
        for number, row in enumerate(pruned_in_training(rows)):
            steps = pairwise([1.0, *_densities(row)])
            gone = [row.first.prunable * (before - after) for before, after in steps]
            _course(axes, row, gone, **look(number))
        axes.set_yscale("symlog", linthresh=10)
        axes.set_ylabel("weights pruned in the epoch")
        legend(axes)
        return svg()


def evaluated_in_training(rows: list[Row]) -> list[Row]:
    """Dense networks, and the highest compression of each method, with an accuracy per epoch."""
    dense = [row for row in rows if row.is_dense]
    return [row for row in dense + most_pruned(rows) if len(_accuracies(row)) > 1]


def with_weights(rows: list[Row]) -> list[Row]:
    """The highest compression of each method that says how its weights were spread."""
    return [row for row in most_pruned(rows) if row.history and any(row.history[-1].weights or ())]


def pruned_in_training(rows: list[Row]) -> list[Row]:
    """The highest compression of each method whose density changes from epoch to epoch."""
    return [row for row in most_pruned(rows) if len(set(_densities(row))) > 1]


def _accuracies(row: Row) -> list[float]:
    return _whole([epoch.top1 for epoch in row.history])


def _densities(row: Row) -> list[float]:
    return _whole([epoch.density for epoch in row.history])


def _whole(values: list[float | None]) -> list[float]:
    """The values of all epochs; none of them where some epoch has none."""
    told = [value for value in values if value is not None]
    return told if len(told) == len(values) else []


def _course(axes: Axes, row: Row, values: list[float], **style: Any) -> None:
    """Draw a line through a value of each epoch of the row's training."""
    axes.plot([epoch.epoch for epoch in row.history], values, label=_name(row), **style)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")


def _name(row: Row) -> str:
    return row.method if row.is_dense else listed(f"{row.method} {rounded(row.compression)}x")
