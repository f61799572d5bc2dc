"""Figures of what methods reach at each compression, as SVG text."""

from __future__ import annotations

from statistics import fmean
from typing import Literal, TypeAlias

from prunecli.report.canvas import Axes, canvas, legend, listed, means, ratio_ticks, shown
from prunecli.report.equal_loss import lost
from prunecli.report.labels import DENSE
from prunecli.report.looks import dense_look
from prunecli.report.rows import Row, lines_of, rounded
from prunecli.report.view import View

Top: TypeAlias = Literal["top1", "top5"]


def _compression_axis(axes: Axes, rows: list[Row]) -> None:
    """Draw the axis of compressions, marked at what was asked for, where that was reached."""
    axes.set_xlabel("compression reached (all weights / kept weights)")
    ratio_ticks(axes, sorted({row.compression for row in rows if row.is_met}))


def accuracy(view: View, key: Top) -> str:
    """Accuracy over the compression reached: a line per method, a bar for the spread over seeds.

    Lines start at the unpruned network, if there is just one. Published results are hollow.
    """
    dense = view.unpruned
    with canvas() as (axes, svg):
        for row in dense:
            look = view.look(row)
            axes.axhline(row.mean(key), label=row.method, **look.edge)
        for method, pruned in view.lines.items():
            line = dense + pruned if len(dense) == 1 else pruned
            values = [row.values(key) for row in line]
            means(axes, [row.reached for row in line], values, method, view.looks.look(method))
        _published(axes, view, key)
        _compression_axis(axes, view.rows)
        axes.set_ylabel("test top-1, %" if key == "top1" else "test top-5, %")
        legend(axes)
        return svg()


def _published(axes: Axes, view: View, key: Top, *, by_weights: bool = False) -> list[float]:
    """Draw what was published as hollow points without a line, and give its accuracies.

    Across lies the compression, or the number of weights left. What has a row of ours looks like
    that, so one word in the legend stands for all of it.
    """
    drawn, alone = [], set()
    for pair in view.pairs:
        each = pair.theirs
        # A narrower dense network has its place among weights, and none among compressions.
        narrow = pair.ours is not None and pair.ours.is_dense and pair.ours not in view.unpruned
        if each is None or (top := getattr(each, key)) is None or (narrow and not by_weights):
            continue
        left = each.parameters or view.prunable / (each.reached or each.compression or 1)
        across = left if by_weights else (each.reached or each.compression or view.prunable / left)
        own = pair.ours is None and each.method not in alone
        label = listed(f"{each.method} (published)") if own else "_"
        if pair.ours is None:
            alone.add(each.method)
        axes.plot([across], [100 - top if by_weights else top], label=label,
                  **view.look_of(pair).hollow)  # fmt: skip
        drawn.append(top)
    if any(pair.ours and pair.theirs for pair in view.pairs):
        axes.plot([], [], label="published", **dense_look(0).hollow)
    return drawn


def parameters(view: View) -> str:
    """Error over the weights that are left, beside dense networks that have so many.

    A line per method: what differs in a number among its options lies on one line. Networks that
    lost a whole layer are as good as dead, and would press all others into a line: where they lie
    beyond these, a triangle at the edge stands for them. Published results are hollow.
    """
    with canvas() as (axes, svg):
        for name, line in _trade_offs(view).items():
            line.sort(key=lambda row: row.mean("nonzero"))
            values = [[100 - top1 for top1 in row.values("top1")] for row in line]
            look = dense_look(0) if line[0].is_dense else view.look(line[0])
            means(axes, [row.mean("nonzero") for row in line], values, name, look)
        published = _published(axes, view, "top1", by_weights=True)
        axes.set_xscale("log")
        axes.set_xlabel("weights left")
        axes.set_ylabel("test error, %")
        _mark_dead(axes, view, [100 - top for top in published])
        legend(axes)
        return svg()


def _mark_dead(axes: Axes, view: View, others: list[float]) -> None:
    """End the axis of the error where living networks do, and mark what lies beyond."""
    errors = {id(row): 100 - row.mean("top1") for row in view.rows}
    living = [errors[id(row)] for row in view.rows if not row.dead_layers] + others
    beyond = [row for row in view.rows if living and errors[id(row)] > max(living)]
    if not beyond:
        return
    bottom = min([*living, *errors.values()])
    room = 0.08 * (max(living) - bottom) or 1.0
    top = max(living) + 2 * room
    axes.set_ylim(bottom - room, top)
    for row in beyond:
        look = view.look(row).line | {"marker": "^", "linestyle": "none", "markersize": 8}
        axes.plot([row.mean("nonzero")], [top - room / 2], label="_beyond", **look)
        axes.annotate(f"{errors[id(row)]:.0f}", (row.mean("nonzero"), top - room / 2),
                      xytext=(6, -3), textcoords="offset points", fontsize=8)  # fmt: skip


def _trade_offs(view: View) -> dict[str, list[Row]]:
    """The rows of each line, by its name. Dense networks of all sizes are one."""
    lines: dict[str, list[Row]] = {}
    for row in view.rows:
        lines.setdefault(DENSE if row.is_dense else _without_numbers(row), []).append(row)
    return lines


def _without_numbers(row: Row) -> str:
    label = row.method
    for name, value in (row.first.options or {}).items():
        if type(value) in (int, float):
            label = label.replace(f" {name}={value}", "")
    return label


def degradation(view: View) -> str:
    """Points of top-1 that the unpruned network of the same seed has more, over sparsity."""
    [dense] = view.unpruned
    with canvas() as (axes, svg):
        axes.axhline(0, label=dense.method, **view.look(dense).edge)
        for method, points in lost(view.rows).items():
            across = [100 - 100 / reached for reached, _ in points]
            means(axes, across, [each for _, each in points], method, view.looks.look(method))
        axes.set_xlabel("sparsity reached, %")
        axes.set_ylabel("top-1 lost, points")
        axes.invert_yaxis()
        legend(axes)
        return svg()


def compression_error(view: View) -> str:
    """(reached - asked) / asked over what was asked: how exactly a mask meets that.

    A method that was asked for no density has no place here.
    """
    asking = lines_of([row for row in view.rows if not row.is_free])
    with canvas(height=3.0) as (axes, svg):
        for method, line in asking.items():
            line = sorted(line, key=lambda row: row.compression)
            ratios = [row.compression for row in line]
            errors = [100 * row.mean("compression_error") for row in line]
            axes.plot(ratios, errors, label=listed(method), **view.looks.look(method).line)
        axes.set_xlabel("compression asked (all weights / kept weights)")
        asked = {row.compression for row in view.rows if not row.is_free}
        ratio_ticks(axes, sorted(asked))
        low, high = axes.get_ylim()
        axes.set_ylim(min(low, -1), max(high, 1))
        axes.set_ylabel("compression error, %")
        legend(axes)
        return svg()


def critical(view: View) -> str:
    """The highest compression of each method that leaves no layer empty, rho_cr.

    A bar reaches from the lowest to the highest of the seeds, which may be powers of ten apart.
    Beside it lies the highest of all, rho_max = n / L of n weights in L layers.
    """
    rows = sorted(view.critical, key=lambda row: row.reached)
    with canvas(height=1.2 + 0.28 * len(rows)) as (axes, svg):
        for place, row in enumerate(rows):
            seeds = row.values("empirical_compression")
            spread = [[row.reached - min(seeds)], [max(seeds) - row.reached]]
            look = view.look(row).line | {"linestyle": "none"}
            axes.errorbar(
                [row.reached],
                [place],
                label="_",
                **look,
                xerr=spread if row.seeds > 1 else None,
                capsize=3,
            )
            axes.annotate(rounded(row.reached), (row.reached, place), xytext=(4, 3),
                          textcoords="offset points", fontsize=8)  # fmt: skip
        most = fmean(row.mean("prunable") / len(row.first.layers) for row in rows)
        axes.axvline(most, label=f"n / L = {rounded(most)}", **dense_look(0).edge)
        axes.set_xscale("log")
        axes.set_xlim(right=3 * most)
        axes.set_yticks(range(len(rows)), [shown(row.method) for row in rows], parse_math=False)
        axes.set_xlabel("critical compression (all weights / kept weights)")
        legend(axes)
        return svg()
