"""Figures of what a method reaches by its options, as SVG text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from prunecli.report.canvas import canvas, legend, means, shown
from prunecli.report.looks import numbered
from prunecli.report.rows import Row, times
from prunecli.report.view import View


def by_option(view: View, value: Callable[[Row], list[float]], label: str) -> str:
    """What a method reaches by its options: the one with most values across, a line for the rest.

    What was asked for is among the rest.

    `value` gives a row's values, one per seed, that `label` names.
    """
    method, option = varied(view.rows) or ("", "")
    lines: dict[str, list[tuple[float, Row]]] = {}
    for row in view.rows:
        if row.first.method == method:
            asked = "" if row.is_free else f" {times(row.compression)}"
            lines.setdefault(row.without([option]) + asked, []).append((row.options[option], row))
    across = sorted({at for points in lines.values() for at, _ in points})
    with canvas() as (axes, svg):
        for number, (name, points) in enumerate(lines.items()):
            points.sort(key=lambda point: point[0])
            values = [value(row) for _, row in points]
            means(axes, [across.index(at) for at, _ in points], values, name, numbered(number))
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
            given.setdefault(row.first.method, []).append(row.options)
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
