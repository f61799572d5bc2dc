"""The recipe in a document, with the structure and types of every part checked."""

from __future__ import annotations

import re
from collections import ChainMap, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prunecli.errors import BadUsage, printable, suggest
from prunecli.recipe.parse import Lines, Location, load_yaml, texts
from prunecli.runtime.machine import at_home

KEYS = {"version", "name", "description", "vars", "matrix", "steps"}
DERIVED_KEYS = {"version", "name", "description", "base", "set"}
NAME = re.compile(r"[A-Za-z_][\w-]*")
MANY = 100
"""The number of faults after which reading stops."""
Axes = dict[str, Any]


@dataclass(frozen=True)
class Step:
    name: str
    command: str
    options: dict[str, Any]
    location: Location
    over: tuple[str, ...] | None


@dataclass
class Recipe:
    name: str
    path: Path
    variables: dict[str, Any]
    matrix: dict[str, list[Any]]
    exclude: list[Axes]
    include: list[Axes]
    steps: dict[str, Step]
    lines: Lines
    settings: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    set_by: dict[str, str] = field(default_factory=dict)
    """The axis that sets a variable, for those that an axis sets."""
    faults: list[tuple[str, int, str]] = field(default_factory=list)
    elsewhere: dict[Location, tuple[Path, int]] = field(default_factory=dict)
    """File and line of what another recipe sets in this one, its base."""
    own_texts: frozenset[str] | None = None
    """The texts of a derived recipe that it or the user sets, and its base does not say."""

    def variables_at(self, point: Axes) -> Mapping[str, Any]:
        """All variables at a point of the matrix: an axis's value, and what that value sets."""
        rows = [self.settings[axis][point[axis]] for axis in self.settings if axis in point]
        return ChainMap(point, *rows, self.variables, {"here": str(self.path.parent)})

    def fault(self, location: Location, message: str) -> None:
        """Note a fault at the line of `location`, or of what it is in."""
        while location and location not in self.lines and location not in self.elsewhere:
            location = location[:-1]
        path, line = self.elsewhere.get(location, (self.path, self.lines.get(location, 1)))
        self.faults.append((printable(str(path)), line, message))
        if len(self.faults) == MANY:
            self.raise_faults()

    def raise_faults(self) -> None:
        if self.faults:
            in_order = sorted(dict.fromkeys(self.faults), key=lambda fault: fault[:2])
            raise BadUsage("\n".join(f"{file}:{line}: {said}" for file, line, said in in_order))


def told_apart(value: Any) -> tuple[bool, Any]:
    """What a plain value has in common with those that are the same: 1 is 1.0, and is not true."""
    return isinstance(value, bool), value


def read_recipe(path: Path, overrides: Mapping[str, Any], commands: Iterable[str]) -> Recipe:
    """Read a recipe and set `overrides` in its vars or matrix. Faults are noted, not yet raised.

    One with a `base` is the recipe of that path beside it, with what `set` sets.
    """
    document, lines = load_yaml(path)
    if not isinstance(document, dict):
        raise BadUsage(f"{printable(str(path))}: a recipe is a table with the keys name and steps")
    recipe = Recipe(path.stem, path, {}, {}, [], [], {}, lines)
    _head(recipe, document, DERIVED_KEYS if "base" in document else KEYS)
    if "base" not in document:
        return _read(recipe, document, {}, overrides, commands)
    settings = _table(recipe, document, "set")
    recipe.raise_faults()
    base = path.parent / at_home(str(document["base"]))
    document, lines = load_yaml(base)
    if not isinstance(document, dict) or "base" in document:
        raise BadUsage(f"{printable(str(base))}: a base is a recipe with steps of its own")
    derived = Recipe(recipe.name, base, {}, {}, [], [], {}, lines)
    _head(derived, document, KEYS)
    derived.name = recipe.name
    derived.elsewhere = {("set", key): (path, recipe.lines["set", key]) for key in settings}
    derived.elsewhere["--set",] = (path, 1)
    derived.own_texts = frozenset(texts([settings, dict(overrides)]))
    return _read(derived, document, settings, overrides, commands)


def _head(recipe: Recipe, document: dict[str, Any], keys: set[str]) -> None:
    for key in [key for key in document if key not in keys]:
        recipe.fault((key,), f"there is no key {key!r}{suggest(key, sorted(keys))}")
    if document.get("version") != 1:
        recipe.fault(("version",), "a recipe needs 'version: 1'")
    name = document.get("name", recipe.path.stem)
    if isinstance(name, str) and NAME.fullmatch(name):
        recipe.name = name
    else:
        recipe.fault(("name",), "a name is letters, digits, '-' and '_'")


def _read(
    recipe: Recipe,
    document: dict[str, Any],
    settings: Mapping[str, Any],
    overrides: Mapping[str, Any],
    commands: Iterable[str],
) -> Recipe:
    recipe.variables = _table(recipe, document, "vars")
    matrix = _table(recipe, document, "matrix")
    changes = {key: matrix.pop(key, []) for key in ("exclude", "include")}
    recipe.exclude, recipe.include = (_points(recipe, k, v, matrix) for k, v in changes.items())
    recipe.matrix = {axis: _values(recipe, axis, value) for axis, value in matrix.items()}
    _check_settings(recipe)
    for both in [axis for axis in recipe.matrix if axis in recipe.variables]:
        recipe.fault(("matrix", both), f"{both!r} is in vars too; rename one of them")
    _override(recipe, {k: v for k, v in settings.items() if k not in overrides}, "set")
    _override(recipe, overrides, "--set")
    for name, body in _table(recipe, document, "steps").items():
        step = _step(recipe, name, body, list(commands))
        if step:
            recipe.steps[name] = step
    if not document.get("steps"):
        recipe.fault(("steps",), "a recipe needs steps")
    return recipe


def _table(recipe: Recipe, document: dict[str, Any], key: str) -> dict[str, Any]:
    value = document.get(key) or {}
    if isinstance(value, dict):
        return dict(value)
    recipe.fault((key,), f"{key!r} must be a table")
    return {}


def _values(recipe: Recipe, axis: str, value: Any) -> list[Any]:
    """The values of an axis; none, if they are no axis's values.

    In place of a list, a table names the values and says which variables each of them sets.
    """
    if isinstance(value, dict) and value and all(isinstance(row, dict) for row in value.values()):
        recipe.settings[axis] = value
        return list(value)
    if isinstance(value, list) and value and not any(isinstance(v, list | dict) for v in value):
        if len({str(v) for v in value}) == len(value):
            return value
        recipe.fault(("matrix", axis), f"the axis {axis!r} has a value twice")
        return value
    recipe.fault(("matrix", axis), f"the axis {axis!r} needs a list of plain values")
    return []


def _check_settings(recipe: Recipe) -> None:
    """A variable that an axis sets must have exactly one value everywhere."""
    setting: dict[str, dict[str, None]] = defaultdict(dict)
    for axis, rows in recipe.settings.items():
        for name in [name for row in rows.values() for name in row]:
            setting[name][axis] = None
    recipe.set_by = {name: list(axes)[-1] for name, axes in setting.items()}
    for name, axis in recipe.set_by.items():
        if name in recipe.matrix or len(setting[name]) > 1:
            recipe.fault(("matrix", axis), f"{name!r} is set by two axes, or is an axis itself")
        if name in recipe.variables:
            continue
        for value in [value for value, row in recipe.settings[axis].items() if name not in row]:
            location = ("matrix", axis, value)
            recipe.fault(
                location, f"{axis} {value!r} does not set {name!r}, and vars do not either"
            )


def _points(recipe: Recipe, key: str, value: Any, matrix: dict[str, Any]) -> list[Axes]:
    """The entries of 'exclude' or 'include': values of some axes."""
    location = ("matrix", key)
    if not isinstance(value, list) or not all(isinstance(v, dict) and v for v in value):
        recipe.fault(
            location, f"{key!r} needs a list of tables, as in [{{method: random, seed: 1}}]"
        )
        return []
    known = len(recipe.faults)
    for number, entry in enumerate(value):
        for axis, named in entry.items():
            rows = matrix.get(axis)
            if axis not in matrix:
                hint = suggest(axis, list(matrix))
                recipe.fault((*location, number), f"there is no axis {axis!r}{hint}")
            elif isinstance(named, list | dict):
                recipe.fault((*location, number), f"{key!r} takes one value of {axis!r} at a time")
            elif key == "include" and isinstance(rows, dict) and str(named) not in rows:
                hint = suggest(str(named), list(rows))
                recipe.fault((*location, number), f"there is no {axis} {named!r}{hint}")
    if len(recipe.faults) > known:
        return []
    by_name = {axis for axis, rows in matrix.items() if isinstance(rows, dict)}
    return [{axis: str(v) if axis in by_name else v for axis, v in e.items()} for e in value]


def _override(recipe: Recipe, values: Mapping[str, Any], said: str) -> None:
    """Set variables and axes, by 'set' of a recipe that this one is the base of, or by '--set'."""
    prefix = f"{said}: " if said == "--set" else ""
    for key, value in values.items():
        location = (said, key)
        if location in recipe.elsewhere:
            _moved(recipe, "vars" if key in recipe.variables else "matrix", key, location)
        if key in recipe.variables:
            recipe.variables[key] = value
        elif key in recipe.matrix:
            chosen = value if isinstance(value, list) else [value]
            rows = recipe.settings.get(key)
            if rows is not None:
                chosen = [str(v) for v in chosen]
                for odd in [v for v in chosen if v not in rows]:
                    hint = suggest(odd, list(rows))
                    recipe.fault(location, f"{prefix}there is no {key} {odd!r}{hint}")
                    chosen = list(rows)
            recipe.matrix[key] = _values(recipe, key, chosen)
            known = set(map(told_apart, recipe.matrix[key]))
            recipe.include = [
                i for i in recipe.include if key not in i or told_apart(i[key]) in known
            ]
        else:
            hint = suggest(key, [*recipe.variables, *recipe.matrix])
            recipe.fault(location, f"{prefix}there is no {key!r} in vars or matrix{hint}")


def _moved(recipe: Recipe, section: str, key: str, location: Location) -> None:
    """Report faults of overridden values where they are set, except those that axes set."""
    recipe.elsewhere[section, key] = recipe.elsewhere[location]
    if key not in recipe.settings:
        recipe.lines = {p: line for p, line in recipe.lines.items() if p[:2] != (section, key)}


def _step(recipe: Recipe, name: str, body: Any, commands: list[str]) -> Step | None:
    location = ("steps", name)
    if not NAME.fullmatch(name):
        recipe.fault(
            location, f"the step name {printable(name)!r} must be letters, digits, '-', '_'"
        )
        return None
    if not isinstance(body, dict):
        recipe.fault(location, f"step {name!r} must be a table with one command")
        return None
    named = [key for key in body if key != "over"]
    if len(named) != 1:
        recipe.fault(location, f"step {name!r} needs exactly one command, not {len(named)}")
        return None
    if named[0] not in commands:
        hint = suggest(named[0], commands)
        recipe.fault((*location, named[0]), f"there is no command {named[0]!r}{hint}")
        return None
    options = body[named[0]]
    if not isinstance(options, dict | None):
        recipe.fault(location, f"step {name!r}: the options of {named[0]!r} must be a table")
        return None
    over = body.get("over")
    if over is not None and not (
        isinstance(over, list) and all(axis in list(recipe.matrix) for axis in over)
    ):
        recipe.fault((*location, "over"), f"'over' needs a list of axes, of {list(recipe.matrix)}")
        over = None
    return Step(
        name, named[0], options or {}, (*location, named[0]), None if over is None else tuple(over)
    )
