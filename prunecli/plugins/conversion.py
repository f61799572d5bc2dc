"""Values of options, from text or YAML to the types that functions ask for."""

from __future__ import annotations

import inspect
import math
import types
import typing
from contextlib import suppress
from typing import Any, Literal

KINDS = {int: "a whole number", float: "a finite number", bool: "true or false", str: "text"}


def converted(value: Any, wanted: Any) -> Any:
    """The value, or what its text spells, as an instance of the annotation `wanted`.

    Raises ValueError, which goes on where "the option 'x'" leaves off.
    """
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in (typing.Union, types.UnionType):
        kinds = sorted(arguments, key=_turn)
        for one in kinds:
            with suppress(ValueError):
                return converted(value, one)
        return converted(value, [kind for kind in kinds if kind is not type(None)][-1])
    scalar = _scalar(value) if isinstance(value, str) else value
    if origin is Literal:
        for one in arguments:
            if type(one) in (type(value), type(scalar)) and one in (value, scalar):
                return one
        raise ValueError(f"must be one of {', '.join(map(repr, arguments))}, not {value!r}")
    if wanted is type(None) and scalar is None:
        return None
    if wanted in (str, inspect.Parameter.empty) and value is not None:
        return str(value)
    if wanted is float and type(scalar) is not bool:
        with suppress(TypeError, ValueError):
            if math.isfinite(number := float(value)):
                return number
    elif type(scalar) is wanted:
        return scalar
    noun = KINDS.get(wanted, f"of type {getattr(wanted, '__name__', wanted)}")
    raise ValueError(f"must be {noun}, not {value!r}")


def _turn(kind: Any) -> int:
    """When a type's turn among others is: what a Literal spells, 'none' too, means just that."""
    return 0 if typing.get_origin(kind) is Literal else 1 if kind is type(None) else 2


def _scalar(text: str) -> Any:
    """The number, truth value or null that `text` spells, else the text."""
    words = {"true": True, "false": False, "null": None, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    with suppress(ValueError):
        return int(text)
    return text
