"""From a recipe to its jobs: axes multiplied out, references resolved, everything checked.

A step varies on the axes that it uses: those whose `${axis}` stands in its options, and those of
the steps it refers to. `over` names them explicitly. `@step` is the output of that step's job with
the same place on the axes they share; `@step[*]` is all such outputs.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any
from urllib.parse import quote

from prunecli.errors import BadUsage
from prunecli.files.header import printable
from prunecli.recipe.parse import Lines, Place, load_yaml
from prunecli.registry import suggest

KEYS = {"version", "name", "description", "vars", "matrix", "steps"}
VARIABLE = re.compile(r"\$\{([^}]*)\}")
REFERENCE = re.compile(r"@([A-Za-z_][\w-]*)(\[\*\])?")
NAME = re.compile(r"[A-Za-z_][\w-]*")
Axes = dict[str, Any]


@dataclass(frozen=True)
class Checked:
    """A step's options as its command takes them: arguments, and the file that it will write."""

    arguments: list[str]
    product: str


Check = Callable[[str, Mapping[str, Any]], Checked]
"""Checks a command name and its options; raises BadUsage with one fault a line."""


@dataclass(frozen=True)
class Step:
    name: str
    command: str
    options: dict[str, Any]
    place: Place
    over: tuple[str, ...] | None


@dataclass(frozen=True)
class Job:
    """One run of one command. `name` is also the folder of its output, below the study's."""

    name: str
    step: str
    command: str
    arguments: list[str]
    output: Path
    needs: tuple[str, ...]


@dataclass
class Recipe:
    name: str
    path: Path
    variables: dict[str, Any]
    matrix: dict[str, list[Any]]
    exclude: list[Axes]
    steps: dict[str, Step]
    lines: Lines
    faults: list[tuple[int, str]] = field(default_factory=list)

    def fault(self, place: Place, message: str) -> None:
        """Note a fault at the line of `place`, or of what it is in."""
        while place and place not in self.lines:
            place = place[:-1]
        self.faults.append((self.lines.get(place, 1), message))

    def raise_faults(self) -> None:
        if self.faults:
            label = printable(str(self.path))
            in_order = sorted(dict.fromkeys(self.faults), key=lambda fault: fault[0])
            raise BadUsage("\n".join(f"{label}:{line}: {message}" for line, message in in_order))


def read_recipe(path: Path, overrides: Mapping[str, Any], commands: Iterable[str]) -> Recipe:
    """Read a recipe and set `overrides` in its vars or matrix. Faults are noted, not yet raised."""
    document, lines = load_yaml(path)
    if not isinstance(document, dict):
        raise BadUsage(f"{printable(str(path))}: a recipe is a table with the keys name and steps")
    recipe = Recipe(path.stem, path, {}, {}, [], {}, lines)
    for key in [key for key in document if key not in KEYS]:
        recipe.fault((key,), f"there is no key {key!r}{suggest(key, sorted(KEYS))}")
    if document.get("version") != 1:
        recipe.fault(("version",), "a recipe needs 'version: 1'")
    name = document.get("name", path.stem)
    if isinstance(name, str) and NAME.fullmatch(name):
        recipe.name = name
    else:
        recipe.fault(("name",), "a name is letters, digits, '-' and '_'")
    recipe.variables = _table(recipe, document, "vars")
    matrix = _table(recipe, document, "matrix")
    recipe.exclude = _exclude(recipe, matrix.pop("exclude", []), matrix)
    recipe.matrix = {axis: _values(recipe, axis, value) for axis, value in matrix.items()}
    for both in [axis for axis in recipe.matrix if axis in recipe.variables]:
        recipe.fault(("matrix", both), f"{both!r} is in vars too; rename one of them")
    _override(recipe, overrides)
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
    """The values of an axis; none, if they are no axis's values."""
    if isinstance(value, list) and value and not any(isinstance(v, list | dict) for v in value):
        if len({str(v) for v in value}) == len(value):
            return value
        recipe.fault(("matrix", axis), f"the axis {axis!r} has a value twice")
        return value
    recipe.fault(("matrix", axis), f"the axis {axis!r} needs a list of plain values")
    return []


def _exclude(recipe: Recipe, value: Any, matrix: dict[str, Any]) -> list[Axes]:
    place = ("matrix", "exclude")
    if not isinstance(value, list) or not all(isinstance(v, dict) and v for v in value):
        recipe.fault(place, "'exclude' needs a list of tables, as in [{method: random, seed: 1}]")
        return []
    for number, entry in enumerate(value):
        for axis, excluded in entry.items():
            if axis not in matrix:
                hint = suggest(axis, list(matrix))
                recipe.fault((*place, number), f"there is no axis {axis!r}{hint}")
            elif isinstance(excluded, list | dict):
                recipe.fault((*place, number), f"'exclude' takes one value of {axis!r} at a time")
    return value


def _override(recipe: Recipe, overrides: Mapping[str, Any]) -> None:
    for key, value in overrides.items():
        if key in recipe.variables:
            recipe.variables[key] = value
        elif key in recipe.matrix:
            values = value if isinstance(value, list) else [value]
            recipe.matrix[key] = _values(recipe, key, values)
        else:
            known = [*recipe.variables, *recipe.matrix]
            recipe.fault((), f"--set: there is no {key!r} in vars or matrix{suggest(key, known)}")


def _step(recipe: Recipe, name: str, body: Any, commands: list[str]) -> Step | None:
    place = ("steps", name)
    if not NAME.fullmatch(name):
        recipe.fault(place, f"the step name {printable(name)!r} must be letters, digits, '-', '_'")
        return None
    if not isinstance(body, dict):
        recipe.fault(place, f"step {name!r} must be a table with one command")
        return None
    named = [key for key in body if key != "over"]
    if len(named) != 1:
        recipe.fault(place, f"step {name!r} needs exactly one command, not {len(named)}")
        return None
    if named[0] not in commands:
        hint = suggest(named[0], commands)
        recipe.fault((*place, named[0]), f"there is no command {named[0]!r}{hint}")
        return None
    options = body[named[0]]
    if not isinstance(options, dict | None):
        recipe.fault(place, f"step {name!r}: the options of {named[0]!r} must be a table")
        return None
    over = body.get("over")
    if over is not None and not (
        isinstance(over, list) and all(axis in list(recipe.matrix) for axis in over)
    ):
        recipe.fault((*place, "over"), f"'over' needs a list of axes, of {list(recipe.matrix)}")
        over = None
    return Step(
        name, named[0], options or {}, (*place, named[0]), None if over is None else tuple(over)
    )


def plan(recipe: Recipe, folder: Path, check: Check) -> list[Job]:
    """Every job, each after those it needs. Raises BadUsage with all faults at once."""
    order = _order(recipe)
    axes: dict[str, tuple[str, ...]] = {}
    jobs: dict[str, list[tuple[Axes, Job]]] = {}
    points = _points(recipe)
    for name in order:
        step = recipe.steps[name]
        axes[name] = _axes_of(recipe, step, axes)
        places = {_label(p, axes[name]): {a: p[a] for a in axes[name]} for p in points}
        jobs[name] = [(at, _job(recipe, step, at, jobs, folder, check)) for at in places.values()]
    recipe.raise_faults()
    return [job for name in order for _, job in jobs[name]]


def _points(recipe: Recipe) -> list[Axes]:
    """Every combination of the axes' values that is not excluded."""
    axes = [[(axis, value) for value in values or [None]] for axis, values in recipe.matrix.items()]
    points = [dict(point) for point in itertools.product(*axes)]
    left = [p for p in points if not any(_within(p, hole) for hole in recipe.exclude)]
    if not left:
        recipe.fault(("matrix", "exclude"), "'exclude' leaves nothing to do")
    return left


def _within(point: Axes, hole: Axes) -> bool:
    return all(point.get(axis) == value for axis, value in hole.items())


def _label(point: Axes, axes: Iterable[str]) -> str:
    return ",".join(f"{quote(axis, safe='')}={quote(str(point[axis]), safe='')}" for axis in axes)


def _order(recipe: Recipe) -> list[str]:
    graph: dict[str, list[str]] = {}
    for step in recipe.steps.values():
        graph[step.name] = []
        for key, value in step.options.items():
            for name, _ in _references(value):
                if name in recipe.steps:
                    graph[step.name].append(name)
                elif ("steps", name) not in recipe.lines:
                    hint = suggest(name, list(recipe.steps))
                    recipe.fault((*step.place, key), f"there is no step {name!r}{hint}")
    try:
        return list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        names = error.args[1]
        recipe.fault(("steps", names[0]), f"the steps need each other: {' <- '.join(names)}")
        return list(recipe.steps)


def _references(value: Any) -> list[tuple[str, bool]]:
    """The steps that a value refers to, and whether to all of their outputs."""
    if isinstance(value, list | dict):
        items = value.values() if isinstance(value, dict) else value
        return [reference for item in items for reference in _references(item)]
    match = REFERENCE.fullmatch(value) if isinstance(value, str) else None
    return [(match[1], bool(match[2]))] if match else []


def _variables(value: Any) -> list[str]:
    if isinstance(value, list | dict):
        items = value.values() if isinstance(value, dict) else value
        return [name for item in items for name in _variables(item)]
    return VARIABLE.findall(value) if isinstance(value, str) else []


def _axes_of(recipe: Recipe, step: Step, axes: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    used: set[str] = set()
    for key, value in step.options.items():
        place = (*step.place, key)
        for name in _variables(value):
            if name not in recipe.matrix and name not in recipe.variables:
                known = [*recipe.variables, *recipe.matrix]
                recipe.fault(place, f"there is no variable {name!r}{suggest(name, known)}")
            used |= {name} & recipe.matrix.keys()
        for name, every in _references(value):
            used |= set() if every else set(axes.get(name, ()))
    if step.over is not None:
        if missing := sorted(used - set(step.over)):
            recipe.fault(step.place, f"step {step.name!r} uses {missing[0]!r}; add it to 'over'")
        used |= set(step.over)
    return tuple(axis for axis in recipe.matrix if axis in used)


def _job(
    recipe: Recipe,
    step: Step,
    place: Axes,
    jobs: Mapping[str, list[tuple[Axes, Job]]],
    folder: Path,
    check: Check,
) -> Job:
    """The step's job at that place of the matrix; after a fault, one that only has a name."""
    needs: list[str] = []

    def fill(value: Any) -> Any:
        if isinstance(value, list):
            items = [fill(item) for item in value]
            return [x for item in items for x in (item if isinstance(item, list) else [item])]
        if isinstance(value, dict):
            return {key: fill(item) for key, item in value.items()}
        if references := _references(value):
            name, every = references[0]
            fitting = [job for at, job in jobs.get(name, ()) if _agree(at, place)]
            needs.extend(job.name for job in fitting)
            paths = [str(job.output) for job in fitting] or [value]
            return paths if every else paths[0]
        return _substituted(value, recipe.variables | place)

    checked = Checked([], "")
    if all(v in recipe.variables or recipe.matrix.get(v) for v in _variables(step.options)):
        try:
            checked = check(step.command, fill(step.options))
        except BadUsage as error:
            for line in str(error).splitlines():
                recipe.fault(_blamed(step, line), f"step {step.name!r}: {line}")
    name = "/".join(filter(None, (step.name, _label(place, place))))
    output = folder / name / checked.product
    arguments = ["--output", str(output), *checked.arguments]
    return Job(name, step.name, step.command, arguments, output, tuple(dict.fromkeys(needs)))


def _agree(one: Axes, other: Axes) -> bool:
    return all(other[axis] == value for axis, value in one.items() if axis in other)


def _substituted(value: Any, variables: Mapping[str, Any]) -> Any:
    """`${x}` replaced; a text that is nothing else keeps the variable's type."""
    if not isinstance(value, str):
        return value
    whole = VARIABLE.fullmatch(value)
    if whole:
        return variables[whole[1]]
    return VARIABLE.sub(lambda match: str(variables[match[1]]), value)


def _blamed(step: Step, message: str) -> Place:
    """The option that a message is about, if it names one, for the line to show.

    Messages quote the culprit before any suggestion; a word that is not quoted may mean anything.
    """
    places: list[Place] = [(key,) for key in step.options]
    places += [(key, k) for key, v in step.options.items() if isinstance(v, dict) for k in v]
    found = []
    for place in places:
        word = "[-_]".join(map(re.escape, re.split("[-_]", place[-1])))
        for rank, pattern in enumerate((rf"'(--)?{word}'", rf"(?<!\w){word}(?!\w)")):
            if match := re.search(pattern, message):
                found.append((rank, match.start(), place))
    return (*step.place, *min(found)[2]) if found else step.place
