"""The jobs of a recipe: the product of its axes, references resolved, options checked.

A step varies on the axes that it uses: those whose `${axis}` stands in its options, and those of
the steps it refers to. `over` names them explicitly. `@step` is the output of that step's job with
the same point on the axes they share; `@step[*]` is all of its outputs, `@step[axis=value,...]`
those at such values, which may be shell patterns.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any
from urllib.parse import quote

from prunecli.errors import BadUsage, suggest
from prunecli.recipe.matrix import points
from prunecli.recipe.parse import Location, texts
from prunecli.recipe.read import Axes, Recipe, Step
from prunecli.recipe.variables import (
    REFERENCE,
    filled,
    names_in,
    no_variable,
    resolved,
    substituted,
)
from prunecli.runtime.machine import at_home
from prunecli.settings.training import Carried

HERE = "here"
"""The folder of the recipe: a variable that always exists."""

LONGEST = 255
"""Bytes of a folder's name, on nearly all file systems."""


@dataclass(frozen=True)
class Checked:
    """A step's options as its command takes them: arguments, and the file that it will write."""

    arguments: list[str]
    product: str
    carries: Carried = None
    """The hyperparameters that the file will say, of a checkpoint, where they are known."""


Check = Callable[[str, Mapping[str, Any], Mapping[Path, Carried]], Checked]
"""Checks a command name and its options, given what the outputs of the jobs before carry; raises
BadUsage with one fault a line."""


@dataclass(frozen=True)
class Job:
    """One run of one command. `name` is also the folder of its output, below the study's."""

    name: str
    step: str
    command: str
    arguments: list[str]
    output: Path
    needs: tuple[str, ...]
    reads: tuple[Path, ...] = ()
    """The outputs of those that it needs."""
    given: Mapping[str, Any] | None = None
    """What it depends on, as that was when it became due; see `execute.Inputs`."""

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> Job:
        """The job that `dataclasses.asdict` gave, by way of JSON."""
        paths = {"output": Path(table["output"]), "reads": tuple(map(Path, table["reads"]))}
        return cls(**{**table, "needs": tuple(table["needs"]), **paths})

    @property
    def folder(self) -> Path:
        """The folder of its output, and of nothing else."""
        return self.output.parent

    @property
    def folders(self) -> list[Path]:
        """The job's folder, and those above it within the study's."""
        return [self.folder, *self.folder.parents][: self.name.count("/") + 1]


Jobs = dict[str, tuple[Axes, Job]]
"""A step's jobs and their points, by what tells them apart in their names."""


def plan(recipe: Recipe, folder: Path, check: Check) -> list[Job]:
    """All jobs, each after those that it needs. Raises BadUsage with all faults at once."""
    recipe = resolved(recipe)
    order = _order(recipe)
    axes: dict[str, tuple[str, ...]] = {}
    for name in order:
        axes[name] = _axes_of(recipe, recipe.steps[name], axes)
    where = points(recipe, axes)
    jobs: dict[str, Jobs] = {}
    carried: dict[Path, Carried] = {}
    for name in order:
        step = recipe.steps[name]
        made = [(at, _job(recipe, step, at, jobs, folder, check, carried)) for at in where[name]]
        jobs[name] = {_label(at, at): (at, job) for at, job in made}
    planned = [job for name in order for _, job in jobs[name].values()]
    _check_paths(recipe, planned)
    recipe.raise_faults()
    return planned


def _check_paths(recipe: Recipe, jobs: list[Job]) -> None:
    """Note a fault if a job reads by path what another one writes.

    It must use a reference, since a path does not set the order of the jobs.
    """
    writers = {os.path.realpath(job.output): job for job in jobs}
    names = {job.output.name for job in jobs}
    for job in jobs:
        for argument in job.arguments[2:]:  # after its own --output
            if Path(argument).name not in names:
                continue
            writer = writers.get(os.path.realpath(at_home(argument)))
            if writer is None or writer.name in job.needs:
                continue
            mend = f"refer to it as '@{writer.step}'" if writer != job else "name another file"
            location = recipe.steps[job.step].location
            what = f"step {job.step!r} reads {argument!r}, which step {writer.step!r} writes"
            recipe.fault(location, f"{what}; {mend}")


def _label(point: Axes, axes: Iterable[str]) -> str:
    return ",".join(f"{quote(axis, safe='')}={quote(str(point[axis]), safe='')}" for axis in axes)


def _order(recipe: Recipe) -> list[str]:
    graph: dict[str, list[str]] = {}
    for step in recipe.steps.values():
        graph[step.name] = []
        for key, value in step.options.items():
            for text in _malformed(value):
                form = "@step, @step[*] or @step[axis=value,...]"
                recipe.fault((*step.location, key), f"{text!r} is not of the form {form}")
            for name, _ in _references(value):
                if name in recipe.steps:
                    graph[step.name].append(name)
                elif ("steps", name) not in recipe.lines:
                    hint = suggest(name, list(recipe.steps))
                    recipe.fault((*step.location, key), f"there is no step {name!r}{hint}")
    try:
        return list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        names = error.args[1]
        recipe.fault(("steps", names[0]), f"the steps form a cycle: {' <- '.join(names)}")
        return list(recipe.steps)


def _malformed(value: Any) -> list[str]:
    """Texts that look like references but are not."""
    return [t for t in texts(value) if t.startswith("@") and not _is_reference(t)]


def _is_reference(text: str) -> bool:
    match = REFERENCE.fullmatch(text)
    if match is None or match[2] in (None, "*"):
        return match is not None
    return all("=" in part for part in match[2].split(","))


def _references(value: Any) -> list[tuple[str, str | None]]:
    """The steps that a value refers to, and which outputs of each: None for one, '*' for all."""
    matches = [match for text in texts(value) if (match := REFERENCE.fullmatch(text))]
    return [(match[1], match[2]) for match in matches]


def _wanted(which: str | None) -> dict[str, str]:
    """The patterns by axis of 'axis=value,...'; none for '*'."""
    pairs = [] if which in (None, "*") else str(which).split(",")
    return {axis.strip(): value.strip() for axis, _, value in (p.partition("=") for p in pairs)}


def _axes_of(recipe: Recipe, step: Step, axes: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    used: set[str] = set()
    for key, value in step.options.items():
        location = (*step.location, key)
        for name in names_in(value):
            axis = recipe.set_by.get(name, name)
            if axis in recipe.matrix:
                used.add(axis)
            elif name not in recipe.variables and name != HERE:
                recipe.fault(location, no_variable(recipe, name))
        for name, which in _references(value):
            used |= set(axes.get(name, ())) if which is None else set()
            for axis in _wanted(which):
                if name in axes and axis not in axes[name]:
                    hint = suggest(axis, list(axes[name]))
                    recipe.fault(location, f"step {name!r} does not vary on {axis!r}{hint}")
    if step.over is not None:
        if missing := sorted(used - set(step.over)):
            recipe.fault(step.location, f"step {step.name!r} uses {missing[0]!r}; add it to 'over'")
        used |= set(step.over)
    return tuple(axis for axis in recipe.matrix if axis in used)


def _job(
    recipe: Recipe,
    step: Step,
    point: Axes,
    jobs: Mapping[str, Jobs],
    folder: Path,
    check: Check,
    carried: dict[Path, Carried],
) -> Job:
    """The step's job at that point of the matrix; after a fault, one that only has a name.

    What its output carries joins what is `carried`.
    """
    needs: dict[str, Path] = {}

    def fill(text: str) -> Any:
        references = _references(text)
        if not references:
            return substituted(text, variables)
        name, which = references[0]
        wanted = _wanted(which and substituted(which, variables))
        fitting = _meant(jobs.get(name, {}), point, which, wanted)
        needs.update((job.name, job.output) for job in fitting)
        if wanted and not fitting:
            recipe.fault(step.location, f"{text!r} is not the output of any job")
        paths = [str(job.output) for job in fitting] or [text]
        return paths[0] if which is None else paths

    checked = Checked([], "")
    variables = recipe.variables_at({a: v for a, v in point.items() if recipe.matrix[a]})
    if all(name in variables for name in names_in(step.options)):
        try:
            checked = check(step.command, filled(step.options, fill), carried)
        except BadUsage as error:
            for line in str(error).splitlines():
                recipe.fault(_blamed(step, line), f"step {step.name!r}: {line}")
    name = "/".join(filter(None, (step.name, _label(point, point))))
    if any(len(part.encode()) > LONGEST for part in name.split("/")):
        mend = "name long values: give the axis a table of them in place of a list"
        what = f"the folder of a job of step {step.name!r} has a name of over {LONGEST} bytes"
        recipe.fault(step.location, f"{what}; {mend}")
    output = folder / name / checked.product
    carried[output] = checked.carries
    arguments = ["--output", str(output), *checked.arguments]
    reads = tuple(needs.values())
    return Job(name, step.name, step.command, arguments, output, tuple(needs), reads)


def _meant(jobs: Jobs, point: Axes, which: str | None, wanted: Mapping[str, str]) -> list[Job]:
    """The jobs of a step that a reference at `point` means."""
    axes = next((at for at, _ in jobs.values()), {})
    if jobs and which is None and axes.keys() <= point.keys():
        return [jobs[_label(point, axes)][1]]  # without a look at the others: there may be many
    return [job for at, job in jobs.values() if _agree(at, point) and _fits(at, wanted)]


def _agree(one: Axes, other: Axes) -> bool:
    return all(str(other[axis]) == str(value) for axis, value in one.items() if axis in other)


def _fits(at: Axes, wanted: Mapping[str, str]) -> bool:
    return all(fnmatchcase(str(at.get(axis)), value) for axis, value in wanted.items())


def _blamed(step: Step, message: str) -> Location:
    """The option that a message is about, if it names one, for the line to show.

    Messages quote the culprit before any suggestion; a word that is not quoted may mean anything.
    """
    locations: list[Location] = [(key,) for key in step.options]
    locations += [(key, k) for key, v in step.options.items() if isinstance(v, dict) for k in v]
    found = []
    for location in locations:
        word = "[-_]".join(map(re.escape, re.split("[-_]", location[-1])))
        for rank, pattern in enumerate((rf"'(--)?{word}'", rf"(?<!\w){word}(?!\w)")):
            if match := re.search(pattern, message):
                found.append((rank, match.start(), location))
    return (*step.location, *min(found)[2]) if found else step.location
