"""Figures of training over epochs."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import Any

from prunecli.report.figures.drawing import MANY, Drawing, MaxNLocator, Panel, plot
from prunecli.report.figures.looks import STROKES
from prunecli.report.figures.sight import Sight
from prunecli.report.rows import Row
from prunecli.report.view import View

MARKED = 10
"""The most markers on a line over epochs."""


def convergence(sight: Sight) -> Drawing:
    """Training loss over epochs, of the first seed: a colour per method, a stroke per ratio.

    If methods share a colour, or there are more ratios than strokes or more rows than `MANY`, only
    one compression of each method is drawn, and strokes distinguish methods of one colour.
    """
    view = sight.view
    lines = list(view.lines.values())
    ratios = sorted({row.compression for line in lines for row in line})
    strokes = dict(zip(ratios, STROKES, strict=False))
    colours = {look.colour for look in sight.looks.of_method.values()}
    shared = len(colours) < len(sight.looks.of_method)
    if shared or len(ratios) > len(STROKES) or len(view.rows) > MANY:
        lines, strokes = [[row] for row in view.most_pruned], {}
    with plot() as (drawing, panel):
        for title, row in sight.titled([*view.dense, *chain(*lines)], panel):
            look = sight.look(row)
            edge = look.edge if row.is_dense else replace(
                look, stroke=strokes.get(row.compression, look.stroke)
            ).edge  # fmt: skip
            _course(panel, title, row, [epoch.loss for epoch in row.history], edge)
        panel.axes.set_yscale("log")
        panel.axes.set_ylabel("training loss")
        return drawing


def accuracy(sight: Sight) -> Drawing:
    """Test accuracy over epochs, of the first seed, if it was measured."""
    with plot() as (drawing, panel):
        for title, row in sight.titled(evaluated_in_training(sight.view), panel):
            _course(panel, title, row, _accuracies(row), sight.look(row).line)
        panel.axes.set_ylabel("test top-1, %")
        return drawing


def sparsity(sight: Sight) -> Drawing:
    """Sparsity over epochs, of the first seed, if it changes in training."""
    with plot() as (drawing, panel):
        for title, row in sight.titled(pruned_in_training(sight.view), panel):
            sparsities = [100 * (1 - density) for density in _densities(row)]
            _course(panel, title, row, sparsities, sight.look(row).line)
        panel.axes.set_ylabel("sparsity, %")
        return drawing


def pruned(sight: Sight) -> Drawing:
    """The number of weights pruned up to each epoch, of the first seed, if that changes."""
    with plot() as (drawing, panel):
        for title, row in sight.titled(pruned_in_training(sight.view), panel):
            gone = [row.first.prunable * (1 - density) for density in _densities(row)]
            _course(panel, title, row, gone, sight.look(row).line)
        panel.axes.set_ylim(bottom=0)
        panel.axes.yaxis.set_major_formatter(lambda count, _: f"{count:,.0f}")
        panel.axes.set_ylabel("weights pruned so far")
        return drawing


def evaluated_in_training(view: View) -> list[Row]:
    """Dense networks, and one compression of each method, that have accuracies per epoch."""
    return [row for row in view.dense + view.most_pruned if len(_accuracies(row)) > 1]


def pruned_in_training(view: View) -> list[Row]:
    """One compression of each method whose density changes from epoch to epoch."""
    return [row for row in view.most_pruned if len(set(_densities(row))) > 1]


def _accuracies(row: Row) -> list[float]:
    return _whole([epoch.top1 for epoch in row.history])


def _densities(row: Row) -> list[float]:
    return _whole([epoch.density for epoch in row.history])


def _whole(values: list[float | None]) -> list[float]:
    """The values of all epochs; empty if any epoch has none."""
    told = [value for value in values if value is not None]
    return told if len(told) == len(values) else []


def _course(panel: Panel, title: str, row: Row, values: list[float], style: dict[str, Any]) -> None:
    """Draw a value per epoch of a row's training, with at most about `MARKED` markers."""
    epochs = [epoch.epoch for epoch in row.history]
    panel.line(epochs, values, title, style, markevery=-(-len(epochs) // MARKED))
    panel.axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.axes.set_xlabel("epoch")
