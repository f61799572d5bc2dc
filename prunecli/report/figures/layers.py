"""Figures of what is left of each layer, and of how its weights are spread."""

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
"""The panels beside each other."""
PANELS = 12
LABELS = 24
"""The most names of layers that an axis has room for."""


def density(sight: Sight) -> Drawing:
    """The density that each method leaves each layer, at its highest compression."""
    last = sight.view.most_pruned
    names = list(dict.fromkeys(layer.name for row in last for layer in row.first.layers))
    with plot() as (drawing, panel):
        for title, row in sight.titled(last, panel):
            kept = {names.index(layer.name): layer.density for layer in row.first.layers}
            # An empty layer has no place on the axis: the line is broken there.
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
    """Unpruned networks, and each method's highest compression, that say how layers are spread."""
    rows = view.unpruned + view.most_pruned
    return [row for row in rows if _told(row)]


def _told(row: Row) -> dict[str, Layer]:
    """The layers, by name, of which it is said how the weights are spread."""
    return {layer.name: layer for layer in row.first.layers if any(layer.weights or ())}


def distributions(sight: Sight) -> Drawing:
    """How the weights of each layer are spread, of the first seed, in standard deviations.

    Shares are of the whole layer, of which some weights are gone. Dotted is the Gaussian that a
    threshold from the standard deviation assumes; vertical lines are the thresholds. Of many
    layers, so many are drawn, evenly chosen from the first to the last.
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
    """The names of at most `PANELS` layers, evenly from the first to the last."""
    names = list(dict.fromkeys(chain(*map(_told, rows))))
    if len(names) <= PANELS:
        return names
    return [names[round(place * (len(names) - 1) / (PANELS - 1))] for place in range(PANELS)]


def _layer(panel: Panel, sight: Sight, rows: list[Row], name: str) -> None:
    """Draw the spread of one layer's weights in each network that says it."""
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
    """The edges of so many bins, from -REACH to REACH."""
    return [-REACH + 2 * REACH * place / bins for place in range(bins + 1)]


def _shares(counts: Sequence[float], total: float) -> list[float]:
    return [100 * count / total for count in counts]


def gaussian(bins: int) -> list[float]:
    """The shares, in percent, of a standard Gaussian in so many bins up to `REACH`."""
    below = [0.5 * (1 + math.erf(edge / math.sqrt(2))) for edge in edges_of(bins)]
    return [100 * (high - low) for low, high in pairwise(below)]


def with_weights(view: View) -> list[Row]:
    """The pruned rows that say how weights were spread before the last threshold."""
    rows = [row for line in view.lines.values() for row in line]
    return [row for row in rows if row.history and any(row.history[-1].weights or ())]


def switched(view: View) -> list[list[Row]]:
    """Rows that differ in a switch among their options, at one density, such as without STE.

    At last come all others, of each method that at the highest compression.
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
    """The spread of weights before the last threshold, in standard deviations of a layer.

    Networks that differ in a switch, such as the straight-through estimator, have a panel of their
    own for each density.
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
