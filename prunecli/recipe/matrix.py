"""The axes multiplied out: at which places each step has a job."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from prunecli.recipe.read import Axes, Recipe

MOST = 100_000
"""Jobs of a recipe, and points of its matrix: it would take minutes to check as many."""


def places(recipe: Recipe, axes: Mapping[str, tuple[str, ...]]) -> dict[str, list[Axes]]:
    """Where each step has a job: at every place on its axes that the matrix has a point for."""
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


def _check_size(recipe: Recipe, what: str, number: int) -> None:
    """Refuse at once what would take more time and memory to plan than there is."""
    if number > MOST:
        many = f"{number:,}" if number < 10**15 else f"{Decimal(number):.1e}"
        mend = "take values out, or make several recipes of it"
        recipe.fault(("matrix",), f"{what.format(many)}; the limit is {MOST:,}: {mend}")
        recipe.raise_faults()


def _points(recipe: Recipe) -> list[Axes]:
    """Every combination of the axes' values that is not excluded, and those that are included."""
    _check_points(recipe)
    holes: dict[tuple[str, ...], set[tuple[Any, ...]]] = defaultdict(set)
    for hole in recipe.exclude:
        holes[tuple(hole)].add(tuple(hole.values()))
    left = [
        point
        for point in _grid(recipe)
        if not any(tuple(point[a] for a in axes) in hole for axes, hole in holes.items())
    ]
    known = {tuple(point.values()) for point in left}
    for entry in recipe.include:
        new = [point for point in _grid(recipe, entry) if tuple(point.values()) not in known]
        known |= {tuple(point.values()) for point in new}
        left += new
    if not left:
        recipe.fault(("matrix", "exclude"), "'exclude' leaves nothing to do")
    return left


def _check_points(recipe: Recipe) -> None:
    sizes = {axis: len(values) or 1 for axis, values in recipe.matrix.items()}
    whole = math.prod(sizes.values())
    _check_size(recipe, "the axes make up to {} jobs of a step", whole)
    included = sum(whole // math.prod(sizes[axis] for axis in e) for e in recipe.include)
    _check_size(recipe, "the axes make up to {} jobs of a step", whole + included)


def _grid(recipe: Recipe, fixed: Axes | None = None) -> list[Axes]:
    """All combinations, with the axes of `fixed` at its values."""
    matrix = recipe.matrix | {axis: [value] for axis, value in (fixed or {}).items()}
    axes = [[(axis, value) for value in values or [None]] for axis, values in matrix.items()]
    return [dict(point) for point in itertools.product(*axes)]
