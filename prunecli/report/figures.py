"""Figures of what methods reach at each compression, as SVG text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from prunecli.report.canvas import Axes, canvas, legend, listed, look, means, shown
from prunecli.report.labels import DENSE
from prunecli.report.rows import Row, lines_of, most_pruned, rounded, unpruned


def _compression_axis(axes: Axes, rows: list[Row]) -> None:
    """Draw the axis of compressions in powers of two, marked at what was asked for."""
    axes.set_xscale("log", base=2)
    asked = [row for row in rows if not row.is_free]
    if any(not row.is_dense for row in asked):
        ratios = sorted({row.compression for row in asked})
        axes.set_xticks(ratios, [rounded(ratio) for ratio in ratios])
    else:
        axes.xaxis.set_major_formatter(lambda ratio, _: rounded(ratio))
    axes.minorticks_off()
    axes.set_xlabel("compression (all weights / kept weights)")


def accuracy(rows: list[Row], key: Literal["top1", "top5"]) -> str:
    """Accuracy over compression: a line per method, a bar for the spread over seeds.

    Lines start at the unpruned network, if there is just one.
    """
    dense = unpruned(rows)
    with canvas() as (axes, svg):
        for row in dense:
            axes.axhline(row.mean(key), color="grey", linestyle=":", label=row.method)
        for number, (method, pruned) in enumerate(lines_of(rows).items()):
            line = dense + pruned if len(dense) == 1 else pruned
            values = [row.values(key) for row in line]
            means(axes, [row.compression for row in line], values, method, number)
        _compression_axis(axes, rows)
        axes.set_ylabel("test top-1, %" if key == "top1" else "test top-5, %")
        legend(axes)
        return svg()


def parameters(rows: list[Row]) -> str:
    """Error over the weights that are left, beside dense networks that have so many.

    A line per method: what differs in a number among its options lies on one line.
    """
    lines: dict[str, list[Row]] = {}
    for row in rows:
        lines.setdefault(DENSE if row.is_dense else _without_numbers(row), []).append(row)
    with canvas() as (axes, svg):
        for number, (name, line) in enumerate(lines.items()):
            line.sort(key=lambda row: row.mean("nonzero"))
            values = [[100 - top1 for top1 in row.values("top1")] for row in line]
            means(axes, [row.mean("nonzero") for row in line], values, name, number)
        axes.set_xscale("log")
        axes.set_xlabel("weights left")
        axes.set_ylabel("test error, %")
        legend(axes)
        return svg()


def _without_numbers(row: Row) -> str:
    label = row.method
    for name, value in (row.first.options or {}).items():
        if type(value) in (int, float):
            label = label.replace(f" {name}={value}", "")
    return label


def degradation(rows: list[Row]) -> str:
    """Points of top-1 that the unpruned network of the same seed has more, over sparsity."""
    [dense] = unpruned(rows)
    whole = {result.seed: result.top1 for result in dense.results}
    with canvas() as (axes, svg):
        axes.axhline(0, color="grey", linestyle=":", label=dense.method)
        for number, (method, line) in enumerate(lines_of(rows).items()):
            lost = [
                [whole.get(r.seed, dense.mean("top1")) - r.top1 for r in row.results]
                for row in line
            ]
            means(axes, [100 - 100 / row.compression for row in line], lost, method, number)
        axes.set_xlabel("sparsity, %")
        axes.set_ylabel("top-1 lost, points")
        axes.invert_yaxis()
        legend(axes)
        return svg()


def by_option(rows: list[Row], value: Callable[[Row], list[float]], label: str) -> str:
    """What a method reaches by its options: the one with most values across, a line for the rest.

    What was asked for is among the rest.

    `value` gives a row's values, one per seed, that `label` names.
    """
    method, option = varied(rows) or ("", "")
    lines: dict[str, list[tuple[float, Row]]] = {}
    for row in rows:
        if row.first.method == method:
            at = (row.first.options or {})[option]
            name = row.method.replace(f" {option}={at}", "")
            asked = "" if row.is_free else f" {rounded(row.compression)}x"
            lines.setdefault(name + asked, []).append((at, row))
    across = sorted({at for points in lines.values() for at, _ in points})
    with canvas() as (axes, svg):
        for number, (name, points) in enumerate(lines.items()):
            points.sort(key=lambda point: point[0])
            values = [value(row) for _, row in points]
            means(axes, [across.index(at) for at, _ in points], values, name, number)
        axes.set_xticks(range(len(across)), [f"{at:g}" for at in across])
        axes.set_xlabel(shown(option), parse_math=False)
        axes.set_ylabel(label)
        legend(axes)
        return svg()


def varied(rows: list[Row]) -> tuple[str, str] | None:
    """The first method, if any, of which a number among the options varies, and which does most."""
    given: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row.first.method is not None:
            given.setdefault(row.first.method, []).append(row.first.options or {})
    for method, options in given.items():
        shared = set.intersection(*(set(each) for each in options))
        counts = {
            name: len({each[name] for each in options})
            for name in sorted(shared)
            if all(type(each[name]) in (int, float) for each in options)
        }
        most = max(counts, key=lambda name: counts[name], default=None)
        if most is not None and counts[most] > 1:
            return method, most
    return None


def compression_error(rows: list[Row]) -> str:
    """(reached - asked) / asked over compression: how exactly a mask meets what was asked."""
    with canvas(height=3.0) as (axes, svg):
        for number, (method, line) in enumerate(lines_of(rows).items()):
            ratios = [row.compression for row in line]
            errors = [100 * row.mean("compression_error") for row in line]
            axes.plot(ratios, errors, label=listed(method), **look(number))
        _compression_axis(axes, rows)
        low, high = axes.get_ylim()
        axes.set_ylim(min(low, -1), max(high, 1))
        axes.set_ylabel("compression error, %")
        legend(axes)
        return svg()


def layer_density(rows: list[Row]) -> str:
    """The density that each method leaves each layer, at its highest compression."""
    last = most_pruned(rows)
    names = list(dict.fromkeys(layer.name for row in last for layer in row.first.layers))
    with canvas() as (axes, svg):
        for number, row in enumerate(last):
            kept = {names.index(layer.name): layer.density for layer in row.first.layers}
            axes.plot(
                sorted(kept),
                [kept[layer] for layer in sorted(kept)],
                label=listed(f"{row.method} at {rounded(row.compression)}x"),
                **look(number),
            )
        step = -(-len(names) // 24)
        labels = [shown(name.removesuffix(".weight")) for name in names[::step]]
        ticks = range(0, len(names), step)
        axes.set_xticks(ticks, labels, rotation=60, ha="right", parse_math=False)
        axes.set_yscale("log")
        axes.set_ylabel("density (kept / all)")
        legend(axes)
        return svg()
