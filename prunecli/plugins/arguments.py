"""What a plugin's function takes, as it says itself."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from prunecli.errors import BadUsage, suggest
from prunecli.plugins.conversion import converted
from prunecli.runtime.shortage import raise_shortage

POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)

Parameters = Mapping[str, inspect.Parameter]


def positional(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """The arguments that a function is called with.

    Raises BadUsage for a function that does not say them.
    """
    return [p for p in _parameters(function).values() if p.kind in POSITIONAL]


def named(function: Callable[..., Any]) -> Parameters:
    """Keyword-only arguments, with types and defaults. Raises BadUsage as `positional` does."""
    parameters = _parameters(function)
    return {n: p for n, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}


def default(option: inspect.Parameter) -> Any:
    """The option's default; 'REQUIRED' where it has none."""
    return "REQUIRED" if option.default is option.empty else option.default


def checked(label: str, known: Parameters, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options `given`, their text converted to the types of those that are known.

    Raises BadUsage naming an unknown option (with the nearest known one), a value that does not
    fit, or an option that is missing. `label` says whose they are.
    """
    bound = {}
    for option, value in given.items():
        if option not in known:
            raise BadUsage(f"the {label} has no option {option!r}{suggest(option, list(known))}")
        try:
            bound[option] = converted(value, known[option].annotation)
        except ValueError as error:
            raise BadUsage(f"{label}: option {option!r} {error}") from None
    missing = [n for n, p in known.items() if p.default is p.empty and n not in bound]
    if missing:
        raise BadUsage(f"the {label} needs the option {missing[0]!r}")
    return bound


def _parameters(function: Callable[..., Any]) -> Parameters:
    try:
        return inspect.signature(function, eval_str=True).parameters
    except Exception as error:  # annotations are other people's code too
        raise_shortage(error)
        name = getattr(function, "__qualname__", type(function).__qualname__)
        raise BadUsage(f"the arguments of {name!r} cannot be read: {error}") from None
