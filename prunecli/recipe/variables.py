"""Variables, `${x}` in texts: which there are, what they stand for, how they refer to others."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from graphlib import CycleError, TopologicalSorter
from typing import Any

from prunecli.errors import suggest
from prunecli.recipe.parse import MAX_BYTES, Location, texts
from prunecli.recipe.read import Recipe

VARIABLE = re.compile(r"\$\{([^}]*)\}")
REFERENCE = re.compile(r"@([A-Za-z_][\w-]*)(?:\[([^\[\]]+)\])?")
"""A text that stands for outputs of a step."""


def names_in(value: Any) -> list[str]:
    """The variables that a value refers to."""
    return [name for text in texts(value) for name in VARIABLE.findall(text)]


def filled(value: Any, fill: Callable[[str], Any]) -> Any:
    """The value with each text filled in; a list in place of a list's item is joined to it."""
    if isinstance(value, list):
        items = [filled(item, fill) for item in value]
        return [x for item in items for x in (item if isinstance(item, list) else [item])]
    if isinstance(value, dict):
        return {key: filled(item, fill) for key, item in value.items()}
    return fill(value) if isinstance(value, str) else value


def substituted(text: str, variables: Mapping[str, Any]) -> Any:
    """The text with `${x}` replaced; one that is nothing else keeps the variable's type."""
    whole = VARIABLE.fullmatch(text)
    if whole:
        return variables[whole[1]]
    return VARIABLE.sub(lambda match: str(variables[match[1]]), text)


def resolved(recipe: Recipe) -> Recipe:
    """The recipe with what variables, and what axes set, say of other variables filled in.

    An axis's own values stand as they are: they name jobs, and `exclude` and `--set` speak of them.
    """
    _refuse_what_would_be_literal(recipe)
    graph = {name: names_in(value) for name, value in recipe.variables.items()}
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        names = error.args[1]
        recipe.fault(("vars", names[0]), f"the variables form a cycle: {' <- '.join(names)}")
        return recipe
    known = {**recipe.variables_at({})}
    for name in order:
        if name in graph:
            known[name] = _resolved(recipe, ("vars", name), recipe.variables[name], known)
    settings = {
        axis: {
            value: {
                name: _resolved(recipe, ("matrix", axis, value, name), given, known)
                for name, given in row.items()
            }
            for value, row in rows.items()
        }
        for axis, rows in recipe.settings.items()
    }
    return replace(recipe, variables={name: known[name] for name in graph}, settings=settings)


def no_variable(recipe: Recipe, name: str) -> str:
    known = list(dict.fromkeys((*recipe.variables, *recipe.matrix, *recipe.set_by)))
    return f"there is no variable {name!r}{suggest(name, known)}"


def _refuse_what_would_be_literal(recipe: Recipe) -> None:
    """Note faults of references outside steps, and of variables in an axis's values.

    Neither would mean anything there.
    """
    axes: dict[Location, Any] = {("matrix", axis): values for axis, values in recipe.matrix.items()}
    axes |= {("matrix", "exclude"): recipe.exclude, ("matrix", "include"): recipe.include}
    for location, values in axes.items():
        for name in names_in(values):
            mend = "write the value itself, or let the axis set a variable"
            recipe.fault(location, f"{location[-1]!r} cannot hold '${{{name}}}'; {mend}")
    given: dict[Location, Any] = {("vars", name): value for name, value in recipe.variables.items()}
    for axis, rows in recipe.settings.items():
        given |= {
            ("matrix", axis, v, name): x for v, row in rows.items() for name, x in row.items()
        }
    for location, value in (axes | given).items():
        for text in [text for text in texts(value) if REFERENCE.fullmatch(text)]:
            recipe.fault(location, f"{location[-1]!r} cannot hold {text!r}; write it in the step")


def _resolved(recipe: Recipe, location: Location, value: Any, known: Mapping[str, Any]) -> Any:
    """The value filled in; after a fault, as it was."""
    counts = Counter(names_in(value))
    for name in counts:
        if name in recipe.matrix or name in recipe.set_by:
            mend = "which an axis sets; write it in the step"
            recipe.fault(location, f"{location[-1]!r} cannot hold '${{{name}}}', {mend}")
            return value
        if name not in known:
            recipe.fault(location, no_variable(recipe, name))
            return value
    if sum(count * len(str(known[name])) for name, count in counts.items()) > MAX_BYTES:
        recipe.fault(location, f"{location[-1]!r} grows over {MAX_BYTES:,} bytes")
        return value
    return filled(value, partial(substituted, variables=known))
