"""Figures of what methods reach at each compression."""

from __future__ import annotations

from statistics import fmean
from typing import Literal, TypeAlias

from prunecli.report.equal_loss import lost
from prunecli.report.figures.drawing import (
    PERCENT,
    Axes,
    Drawing,
    Panel,
    plot,
    ratio_ticks,
    shown,
)
from prunecli.report.figures.looks import dense_look
from prunecli.report.figures.sight import Sight
from prunecli.report.labels import DENSE
from prunecli.report.rows import Row, lines_of, rounded

Top: TypeAlias = Literal["top1", "top5"]


def _compression_axis(axes: Axes, rows: list[Row]) -> None:
    """Draw the axis of compressions, marked at what was asked for, where that was reached.

    Where most rows lie at a ratio of their own, it is marked evenly.
    """
    axes.set_xlabel("compression reached (all weights / kept weights)")
    met = [row.compression for row in rows if row.is_met]
    ratio_ticks(axes, sorted(set(met)) if 2 * len(met) > len(rows) else [])


def accuracy(sight: Sight, key: Top) -> Drawing:
    """Accuracy over the compression reached: a line per method, a bar for the spread over seeds.

    A line starts at the unpruned network, if there is just one; a method with a single ratio is a
    point. Published results are hollow.
    """
    view = sight.view
    dense = view.unpruned
    with plot() as (drawing, panel):
        for row in dense:
            panel.level(row.mean(key), row.method, sight.look(row).edge)
        for method, pruned in view.lines.items():
            line = dense + pruned if len(dense) == 1 < len(pruned) else pruned
            values = [row.values(key) for row in line]
            across = [row.reached for row in line]
            panel.means(across, values, method, sight.line(method), PERCENT)
        _published(panel, sight, key)
        _compression_axis(panel.axes, view.rows)
        panel.axes.set_ylabel("test top-1, %" if key == "top1" else "test top-5, %")
        return drawing


def _published(panel: Panel, sight: Sight, key: Top, *, by_weights: bool = False) -> list[float]:
    """Draw what was published as hollow points without a line, and give its accuracies.

    Across lies the compression, or the number of weights left. What has a row of ours looks like
    that, and goes with its line.
    """
    drawn, view = [], sight.view
    for pair in view.pairs:
        each = pair.theirs
        # A narrower dense network has its place among weights, and none among compressions.
        narrow = pair.ours is not None and pair.ours.is_dense and pair.ours not in view.unpruned
        if each is None or (top := getattr(each, key)) is None or (narrow and not by_weights):
            continue
        left = each.parameters or view.prunable / (each.reached or each.compression or 1)
        across = left if by_weights else (each.reached or each.compression or view.prunable / left)
        height, style = 100 - top if by_weights else top, sight.look_of(pair).hollow
        if pair.ours is None:
            panel.line([across], [height], f"{each.method} (published)", style)
        else:
            points = panel.axes.plot([across], [height], **style)
            panel.belongs(pair.ours.series if by_weights else pair.ours.method, points)
        drawn.append(top)
    if any(pair.ours and pair.theirs for pair in view.pairs):
        panel.line([], [], "published", dense_look(0).hollow)
    return drawn


def parameters(sight: Sight) -> Drawing:
    """Error over the weights that are left, beside dense networks that have so many.

    A line per method: what differs in a number among its options lies on one line. Networks that
    lost a whole layer are as good as dead, and would press all others into a line: where they lie
    beyond these, a triangle at the edge stands for them. Published results are hollow.
    """
    with plot() as (drawing, panel):
        for name, line in _trade_offs(sight).items():
            line.sort(key=lambda row: row.mean("nonzero"))
            values = [[100 - top1 for top1 in row.values("top1")] for row in line]
            look = dense_look(0) if line[0].is_dense else sight.look(line[0])
            panel.means([row.mean("nonzero") for row in line], values, name, look.line, PERCENT)
        published = _published(panel, sight, "top1", by_weights=True)
        panel.axes.set_xscale("log")
        panel.axes.set_xlabel("weights left")
        panel.axes.set_ylabel("test error, %")
        _mark_dead(panel, sight, [100 - top for top in published])
        return drawing


def _mark_dead(panel: Panel, sight: Sight, others: list[float]) -> None:
    """End the axis of the error where living networks do, and mark what lies beyond."""
    rows = sight.view.rows
    errors = {id(row): 100 - row.mean("top1") for row in rows}
    living = [errors[id(row)] for row in rows if not row.dead_layers] + others
    beyond = [row for row in rows if living and errors[id(row)] > max(living)]
    if not beyond:
        return
    bottom = min([*living, *errors.values()])
    room = 0.08 * (max(living) - bottom) or 1.0
    top = max(living) + 2 * room
    panel.axes.set_ylim(bottom - room, top)
    for row in beyond:
        at, name = (row.mean("nonzero"), top - room / 2), _trade_off(row)
        style = sight.look(row).point | {"marker": "^", "markersize": 8}
        panel.belongs(name, panel.axes.plot([at[0]], [at[1]], **style))
        panel.note(name, f"{errors[id(row)]:.0f}", at, (6, -3))


def _trade_offs(sight: Sight) -> dict[str, list[Row]]:
    """The rows of each line, by its name. Dense networks of all sizes are one."""
    lines: dict[str, list[Row]] = {}
    for row in sight.view.rows:
        lines.setdefault(_trade_off(row), []).append(row)
    return lines


def _trade_off(row: Row) -> str:
    return DENSE if row.is_dense else row.series


def degradation(sight: Sight) -> Drawing:
    """Points of top-1 that the unpruned network of the same seed has more, over sparsity."""
    [dense] = sight.view.unpruned
    with plot() as (drawing, panel):
        panel.level(0, dense.method, sight.look(dense).edge)
        for method, points in lost(sight.view.rows).items():
            across = [100 - 100 / reached for reached, _ in points]
            panel.means(across, [each for _, each in points], method, sight.line(method))
        panel.axes.set_xlabel("sparsity reached, %")
        panel.axes.set_ylabel("top-1 lost, points")
        panel.axes.invert_yaxis()
        return drawing


def compression_error(sight: Sight) -> Drawing:
    """(reached - asked) / asked over what was asked: how exactly a mask meets that.

    A method that was asked for no density has no place here.
    """
    asking = [row for row in sight.view.rows if not row.is_free]
    with plot(height=3.0) as (drawing, panel):
        for method, line in lines_of(asking).items():
            line = sorted(line, key=lambda row: row.compression)
            ratios = [row.compression for row in line]
            errors = [100 * row.mean("compression_error") for row in line]
            panel.line(ratios, errors, method, sight.line(method))
        panel.axes.set_xlabel("compression asked (all weights / kept weights)")
        ratio_ticks(panel.axes, sorted({row.compression for row in asking}))
        low, high = panel.axes.get_ylim()
        panel.axes.set_ylim(min(low, -1), max(high, 1))
        panel.axes.set_ylabel("compression error, %")
        return drawing


def critical(sight: Sight) -> Drawing:
    """The highest compression of each method that leaves no layer empty, rho_cr.

    A bar reaches from the lowest to the highest of the seeds, which may be powers of ten apart.
    Beside it lies the highest of all, rho_max = n / L of n weights in L layers.
    """
    rows = sorted(sight.view.critical, key=lambda row: row.reached)
    with plot(height=1.2 + 0.28 * len(rows)) as (drawing, panel):
        for place, row in enumerate(rows):
            seeds = row.values("empirical_compression")
            spread = [[row.reached - min(seeds)], [max(seeds) - row.reached]]
            panel.axes.errorbar(
                [row.reached], [place], xerr=spread if row.seeds > 1 else None, capsize=3,
                **sight.look(row).point,
            )  # fmt: skip
            panel.note(row.method, rounded(row.reached), (row.reached, place), (4, 3))
        most = fmean(row.mean("prunable") / len(row.first.layers) for row in rows)
        label, style = f"n / L = {rounded(most)}", dense_look(0).edge
        drawn = panel.axes.axvline(most, **style)
        panel.listing(label, style, [drawn])
        panel.axes.set_xscale("log")
        panel.axes.set_xlim(right=3 * most)
        names = [
            shown(row.method.removesuffix(" untrained").removesuffix(" critical")) for row in rows
        ]
        panel.axes.set_yticks(range(len(rows)), names, parse_math=False)
        panel.axes.set_xlabel("critical compression (all weights / kept weights)")
        return drawing
