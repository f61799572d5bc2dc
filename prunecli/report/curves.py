"""Figures of what happens in the course of a training, as SVG text."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import Any

from prunecli.report.canvas import MANY, Axes, MaxNLocator, canvas, legend, listed
from prunecli.report.looks import COLOURS, STROKES
from prunecli.report.rows import Row
from prunecli.report.view import View

MARKED = 10
"""The most markers that a line over epochs has."""


def convergence(view: View) -> str:
    """Training loss over epochs, of the first seed: a colour per method, a stroke per ratio.

    Where there are more methods than colours, more ratios than strokes or more rows than `MANY`,
    only each method's highest compression is drawn, and strokes tell methods of one colour apart.
    """
    lines = list(view.lines.values())
    ratios = sorted({row.compression for line in lines for row in line})
    strokes = dict(zip(ratios, STROKES, strict=False))
    crowded = len(view.looks.methods) > len(COLOURS)
    if crowded or len(ratios) > len(STROKES) or len(view.rows) > MANY:
        lines, strokes = [line[-1:] for line in lines], {}
    with canvas() as (axes, svg):
        for row in [*view.dense, *chain(*lines)]:
            look = view.look(row)
            edge = look.edge if row.is_dense else replace(
                look, stroke=strokes.get(row.compression, look.stroke)
            ).edge  # fmt: skip
            _course(axes, row, [epoch.loss for epoch in row.history], **edge)
        axes.set_yscale("log")
        axes.set_ylabel("training loss")
        legend(axes)
        return svg()


def accuracy(view: View) -> str:
    """Test accuracy over epochs, of the first seed, where it was measured."""
    with canvas() as (axes, svg):
        for row in evaluated_in_training(view):
            _course(axes, row, _accuracies(row), **view.look(row).line)
        axes.set_ylabel("test top-1, %")
        legend(axes)
        return svg()


def sparsity(view: View) -> str:
    """Sparsity over epochs, of the first seed, where it changes while training."""
    with canvas() as (axes, svg):
        for row in pruned_in_training(view):
            sparsities = [100 * (1 - density) for density in _densities(row)]
            _course(axes, row, sparsities, **view.look(row).line)
        axes.set_ylabel("sparsity, %")
        legend(axes)
        return svg()


def pruned(view: View) -> str:
    """All weights pruned up to each epoch, of the first seed, where that is done while training."""
    with canvas() as (axes, svg):
        for row in pruned_in_training(view):
            gone = [row.first.prunable * (1 - density) for density in _densities(row)]
            _course(axes, row, gone, **view.look(row).line)
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(lambda count, _: f"{count:,.0f}")
        axes.set_ylabel("weights pruned so far")
        legend(axes)
        return svg()


def evaluated_in_training(view: View) -> list[Row]:
    """Dense networks, and the highest compression of each method, with an accuracy per epoch."""
    return [row for row in view.dense + view.most_pruned if len(_accuracies(row)) > 1]


def pruned_in_training(view: View) -> list[Row]:
    """The highest compression of each method whose density changes from epoch to epoch."""
    return [row for row in view.most_pruned if len(set(_densities(row))) > 1]


def _accuracies(row: Row) -> list[float]:
    return _whole([epoch.top1 for epoch in row.history])


def _densities(row: Row) -> list[float]:
    return _whole([epoch.density for epoch in row.history])


def _whole(values: list[float | None]) -> list[float]:
    """The values of all epochs; none of them where some epoch has none."""
    told = [value for value in values if value is not None]
    return told if len(told) == len(values) else []


def _course(axes: Axes, row: Row, values: list[float], **style: Any) -> None:
    """Draw a line through a value of each epoch of the row's training; markers where they fit."""
    epochs = [epoch.epoch for epoch in row.history]
    axes.plot(epochs, values, label=listed(row.title), markevery=-(-len(epochs) // MARKED), **style)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
