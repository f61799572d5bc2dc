"""Figures of what a method reaches by its options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from prunecli.report.figures.drawing import PERCENT, Drawing, plot, shown
from prunecli.report.figures.looks import Looks
from prunecli.report.figures.sight import Sight
from prunecli.report.rows import Row, times


def by_option(sight: Sight, value: Callable[[Row], list[float]], label: str) -> Drawing:
    """What a method reaches by its options: the one with most values across, a line for the rest.

    The compression asked for is among the rest. The values of the option stand at equal distances.
    A line has the label of its rows, if they share one, else the options that vary.

    `value` gives a row's percentages, one per seed, that `label` names.
    """
    found = varied(sight.view.rows)
    assert found, "`kinds` asks first"
    method, option = found
    lines: dict[str, list[tuple[float, Row]]] = {}
    rows = [row for row in sight.view.rows if row.first.method == method]
    same = [name for name in rows[0].options if all(_equal(name, rows[0], row) for row in rows)]
    for row in rows:
        name = row.without([option, *same]) + _asked(row)
        lines.setdefault(name, []).append((row.options[option], row))
    lines = _labelled(lines)
    across = sorted({at for points in lines.values() for at, _ in points})
    looks = Looks.numbered(lines)
    with plot() as (drawing, panel):
        for name, points in lines.items():
            points.sort(key=lambda point: point[0])
            places = [across.index(at) for at, _ in points]
            values = [value(row) for _, row in points]
            panel.means(places, values, name, looks.look(name).line, PERCENT)
        panel.axes.set_xticks(range(len(across)), [f"{at:g}" for at in across])
        panel.axes.set_xlabel(shown(option), parse_math=False)
        panel.axes.set_ylabel(label)
        return drawing


def _equal(name: str, one: Row, other: Row) -> bool:
    return name in other.options and repr(one.options[name]) == repr(other.options[name])


def _asked(row: Row) -> str:
    return "" if row.is_free else f" {times(row.compression)}"


def _labelled(lines: dict[str, list[tuple[float, Row]]]) -> dict[str, list[tuple[float, Row]]]:
    """The lines by the label that all of their rows share, where no other line has it too."""
    names = {}
    for name, points in lines.items():
        labels = {(row.first.label or "", _asked(row)) for _, row in points}
        label, asked = labels.pop()
        names[name] = label + asked if label and not labels else name
    given = list(names.values())
    return {
        label if given.count(label) == 1 else name: lines[name] for name, label in names.items()
    }


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
