"""The product of the axes: the points at which each step has a job."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from prunecli.recipe.read import Axes, Recipe, told_apart

MOST = 100_000
"""The most jobs of a recipe, and points of its matrix: checking more would take minutes."""
MOST_VALUES = 20 * MOST
"""The most values of axes, at all points together: more would take gigabytes."""


def points(recipe: Recipe, axes: Mapping[str, tuple[str, ...]]) -> dict[str, list[Axes]]:
    """The points of each step's jobs: all points of the matrix on its axes."""
    points = _points(recipe)
    by_axes: dict[tuple[str, ...], list[Axes]] = {}
    jobs = 0
    for own in axes.values():
        if own not in by_axes:
            found = {tuple(str(p[a]) for a in own): {a: p[a] for a in own} for p in points}
            by_axes[own] = list(found.values())
        jobs += len(by_axes[own])
    _check_size(recipe, "the steps make {} jobs", jobs)
    return {name: by_axes[own] for name, own in axes.items()}


def _check_size(recipe: Recipe, what: str, number: int, most: int = MOST) -> None:
    """Refuse recipes that would take too much time or memory to plan."""
    if number > most:
        many = f"{number:,}" if number < 10**15 else f"{Decimal(number):.1e}"
        mend = "remove values, or split it into several recipes"
        recipe.fault(("matrix",), f"{what.format(many)}; the limit is {most:,}: {mend}")
        recipe.raise_faults()


def _points(recipe: Recipe) -> list[Axes]:
    """Every combination of the axes' values that is not excluded, and those that are included."""
    _check_points(recipe)
    grid = zip(_grid(recipe), _excluded(recipe), strict=True)
    left = [point for point, excluded in grid if excluded == "0"]
    known = {tuple(map(told_apart, point.values())) for point in left}
    for entry in recipe.include:
        for point in _grid(recipe, entry):
            if (values := tuple(map(told_apart, point.values()))) not in known:
                known.add(values)
                left.append(point)
    if not left:
        recipe.fault(("matrix", "exclude"), "'exclude' removes all jobs")
    return left


def _excluded(recipe: Recipe) -> str:
    """'1' for each point of the grid, in its order, that `exclude` matches, else '0'."""
    grid = _Grid(recipe)
    fitting = 0
    for entry in recipe.exclude:
        fitting |= grid.fitting(entry)
    return f"{fitting:0{grid.points}b}"[::-1]


class _Grid:
    """Points by their values, a bit for each: an entry takes a few steps, however many fit.

    Those of one value of an axis come in runs, and the runs at equal distances.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.points = run = math.prod(len(values) or 1 for values in recipe.matrix.values())
        whole = (1 << self.points) - 1
        self.first: dict[str, int] = {}
        """The points of each axis's first value."""
        self.starts: dict[str, dict[Any, list[int]]] = {}
        """Where the first points of each value of an axis are. What is written in two ways has
        two."""
        for axis, values in recipe.matrix.items():
            period, run = run, run // (len(values) or 1)
            self.first[axis] = ((1 << run) - 1) * (whole // ((1 << period) - 1))
            starts = self.starts[axis] = defaultdict(list)
            for number, value in enumerate(values):
                starts[told_apart(value)].append(number * run)

    def fitting(self, entry: Axes) -> int:
        """The points that have these values."""
        fitting = (1 << self.points) - 1
        for axis, value in entry.items():
            of_axis = 0
            for start in self.starts[axis].get(told_apart(value), ()):
                of_axis |= self.first[axis] << start
            fitting &= of_axis
        return fitting


def _check_points(recipe: Recipe) -> None:
    sizes = {axis: len(values) or 1 for axis, values in recipe.matrix.items()}
    whole = math.prod(sizes.values())
    _check_size(recipe, "the axes make up to {} jobs of a step", whole)
    included = sum(whole // math.prod(sizes[axis] for axis in e) for e in recipe.include)
    _check_size(recipe, "the axes make up to {} jobs of a step", whole + included)
    values = (whole + included) * len(sizes)
    _check_size(recipe, "the axes have {} values at all points together", values, MOST_VALUES)


def _grid(recipe: Recipe, fixed: Axes | None = None) -> list[Axes]:
    """All combinations, with the axes of `fixed` at its values."""
    matrix = recipe.matrix | {axis: [value] for axis, value in (fixed or {}).items()}
    axes = [[(axis, value) for value in values or [None]] for axis, values in matrix.items()]
    return [dict(point) for point in itertools.product(*axes)]
