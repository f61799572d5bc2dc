"""The form of results: what may be looked into without a further check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

Form: TypeAlias = "type | tuple[Form, ...] | list[Form] | Each | Record | Callable[[Any], bool]"
"""A type; any of several; a list of such; a table; or whatever a function says yes to."""


@dataclass(frozen=True)
class Each:
    """A table with any keys, whose values are all of one form."""

    values: Form


@dataclass(frozen=True)
class Record:
    """A table with these keys, each of its form; only those in `needs` must be there."""

    keys: dict[str, Form]
    needs: tuple[str, ...] = ()


def fits(value: Any, form: Form) -> bool:
    if isinstance(form, tuple):
        return any(fits(value, one) for one in form)
    if isinstance(form, list):
        return isinstance(value, list) and all(fits(item, form[0]) for item in value)
    if isinstance(form, Each):
        return isinstance(value, dict) and all(fits(v, form.values) for v in value.values())
    if isinstance(form, Record):
        known = form.keys.items()
        return (
            isinstance(value, dict)
            and all(key in value for key in form.needs)
            and all(fits(value[key], inner) for key, inner in known if key in value)
        )
    if not isinstance(form, type):
        return form(value)
    if isinstance(value, bool):  # which is an int to Python, and is none here
        return form is bool
    if form is int:
        return isinstance(value, int) and abs(value) < 1 << 63
    return isinstance(value, form)


NONE = type(None)
NUMBER = (int, float)


def is_natural(value: Any) -> bool:
    return fits(value, int) and value >= 0
