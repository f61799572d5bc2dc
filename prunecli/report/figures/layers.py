"""Figures of each layer's density, and of the distribution of its weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain, pairwise

from prunecli.files.results import Layer
from prunecli.report.figures.drawing import WIDTH, Drawing, Panel, panels, plot, shown
from prunecli.report.figures.sight import Sight
from prunecli.report.rows import Row
from prunecli.report.view import View
from prunecli.types import REACH

ACROSS = 3
"""Panels in a row."""
PANELS = 12
LABELS = 24
"""The most layer names on an axis."""


def density(sight: Sight) -> Drawing:
    """The density of each layer, for each row of `View.most_pruned`."""
    last = sight.view.most_pruned
    names = list(dict.fromkeys(layer.name for row in last for layer in row.first.layers))
    with plot() as (drawing, panel):
        for title, row in sight.titled(last, panel):
            kept = {names.index(layer.name): layer.density for layer in row.first.layers}
            # Zero has no place on a log axis: the line is broken there.
            heights = [kept[layer] or math.nan for layer in sorted(kept)]
            panel.line(sorted(kept), heights, title, sight.look(row).line)
        step = -(-len(names) // LABELS)
        labels = [shown(name.removesuffix(".weight")) for name in names[::step]]
        ticks = range(0, len(names), step)
        panel.axes.set_xticks(ticks, labels, rotation=60, ha="right", parse_math=False)
        panel.axes.set_yscale("log")
        panel.axes.set_ylabel("density (kept / all)")
        return drawing


def with_layer_weights(view: View) -> list[Row]:
    """Unpruned rows, and those of `View.most_pruned`, that have histograms."""
    rows = view.unpruned + view.most_pruned
    return [row for row in rows if _told(row)]


def _told(row: Row) -> dict[str, Layer]:
    """The layers that have a histogram of their weights, by name."""
    return {layer.name: layer for layer in row.first.layers if any(layer.weights or ())}


def distributions(sight: Sight) -> Drawing:
    """Histograms of each layer's weights, for the first seed, in standard deviations.

    Shares are of the whole layer, pruned weights included. The dotted line is the Gaussian that a
    threshold from the standard deviation assumes. Vertical lines are the thresholds. At most
    `PANELS` layers are drawn, evenly spaced from the first to the last.
    """
    rows = with_layer_weights(sight.view)
    names = _chosen(rows)
    down = -(-len(names) // ACROSS)
    across = min(ACROSS, len(names))
    with panels(len(names), across=across, width=2.6 * across, height=0.4 + 2 * down) as drawing:
        for panel, name in zip(drawing.panels, names, strict=True):
            _layer(panel, sight, rows, name)
        return drawing


def _chosen(rows: list[Row]) -> list[str]:
    """The names of at most `PANELS` layers, evenly spaced from the first to the last."""
    names = list(dict.fromkeys(chain(*map(_told, rows))))
    if len(names) <= PANELS:
        return names
    return [names[round(place * (len(names) - 1) / (PANELS - 1))] for place in range(PANELS)]


def _layer(panel: Panel, sight: Sight, rows: list[Row], name: str) -> None:
    """Draw the histograms of one layer's weights."""
    bins, axes = 0, panel.axes
    for row in rows:
        if (layer := _told(row).get(name)) is None:
            continue
        counts, look = layer.weights or (), sight.look(row).edge
        bins = max(bins, len(counts))
        panel.steps(_shares(counts, layer.total), edges_of(len(counts)), row.title, look)
        if (end := layer.threshold) is not None:
            panel.belongs(row.title, [axes.axvline(at, alpha=0.6, **look) for at in (-end, end)])
    panel.steps(gaussian(bins), edges_of(bins), "Gaussian", {"color": "#000000", "linestyle": ":"})
    axes.set_title(shown(name.removesuffix(".weight")), fontsize=9, parse_math=False)
    axes.set_xlabel("standard deviations", fontsize=8)
    axes.set_ylabel("share, %", fontsize=8)
    axes.tick_params(labelsize=8)


def edges_of(bins: int) -> list[float]:
    """The edges of `bins` equal bins from -REACH to REACH."""
    return [-REACH + 2 * REACH * place / bins for place in range(bins + 1)]


def _shares(counts: Sequence[float], total: float) -> list[float]:
    return [100 * count / total for count in counts]


def gaussian(bins: int) -> list[float]:
    """The shares, in percent, of a standard Gaussian in the bins of `edges_of`."""
    below = [0.5 * (1 + math.erf(edge / math.sqrt(2))) for edge in edges_of(bins)]
    return [100 * (high - low) for low, high in pairwise(below)]


def with_weights(view: View) -> list[Row]:
    """The pruned rows that have a histogram from before the last threshold."""
    rows = [row for line in view.lines.values() for row in line]
    return [row for row in rows if row.history and any(row.history[-1].weights or ())]


def switched(view: View) -> list[list[Row]]:
    """Groups of rows at one compression that differ only in boolean options, such as STE.

    The last group has the other rows of `View.most_pruned`.
    """
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in with_weights(view):
        asked = "" if row.is_free else str(row.compression)
        switches = [name for name, value in row.options.items() if isinstance(value, bool)]
        groups.setdefault((row.without(switches), asked), []).append(row)
    found = [group for group in groups.values() if len({row.method for row in group}) > 1]
    found_in = {id(row) for group in found for row in group}
    last = {id(row) for row in view.most_pruned}
    single = [row for row in with_weights(view) if id(row) in last - found_in]
    return found + ([single] if single else [])


def spread(sight: Sight) -> Drawing:
    """Histograms of weights before the last threshold, in standard deviations of a layer.

    Networks that differ in a boolean option, such as the straight-through estimator, share a panel
    for each compression.
    """
    groups = switched(sight.view)
    across = min(2, len(groups))
    down = -(-len(groups) // across)
    width = WIDTH if across == 1 else 4.0 * across
    with panels(len(groups), across=across, width=width, height=0.4 + 3.2 * down) as drawing:
        for panel, group in zip(drawing.panels, groups, strict=True):
            for row in group:
                counts = row.history[-1].weights or ()
                shares = _shares(counts, sum(counts))
                panel.steps(shares, edges_of(len(counts)), row.title, sight.look(row).edge)
            panel.axes.set_yscale("log")
            panel.axes.set_xlabel("weight, in standard deviations of its layer")
            panel.axes.set_ylabel("share of the weights, %")
        return drawing
