"""JSON parsed strictly into frozen dataclasses, the only declaration of its form, and written.

A field's type says what the JSON may hold: `str`, `bool`, `int`, `float` (any number), `tuple[...]`
(a list), `Mapping[str, ...]` (a table), another `Record`, or `Any`. `Annotated` adds predicates for
the value. If the type allows None, the key may be missing or null.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import cache
from reprlib import Repr
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    TypeAlias,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from prunecli.errors import printable

SHORT = Repr()
SHORT.maxstring = SHORT.maxother = 80
"""Shortens wrong values for messages."""
DEEPEST = 100
"""The deepest nesting in a value of type `Any`, so that recursion over it, and writing it, stays
within Python's limit."""
NESTS = (dict, list)


@dataclass(frozen=True, kw_only=True)
class Record:
    """A JSON table; see `parsed` and `table`.

    In a new record, None is written as null if the field has no default, else it is left out.
    """

    nulls: frozenset[str] | None = field(default=None, compare=False)
    """The fields that are written as null if they are None; None for the rule above."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """Other keys of the table, such as those of a newer version."""

    @classmethod
    @cache
    def types(cls) -> dict[str, Any]:
        """The type of each field of the table, by name."""
        hints = get_type_hints(cls, include_extras=True)
        own = {f.name for f in fields(cls)} - {f.name for f in fields(Record)}
        return {name: hints[name] for name in hints if name in own}

    def part(self, cls: type[Record]) -> dict[str, Any]:
        """The values of the fields that this record shares with that class."""
        return {name: getattr(self, name) for name in cls.types() if name in self.types()}


R = TypeVar("R", bound=Record)
Scalar: TypeAlias = str | bool | int | float


def parsed(cls: type[R], table: Any, where: str = "") -> R:
    """The record of a table; `where` is the table's path. Raises ValueError naming the field."""
    if not isinstance(table, dict):
        raise ValueError(_unfit(where, table))
    start, known = f"{where}." if where else "", cls.types()
    values = {}
    for name, hint in known.items():
        if table.get(name) is None and not _allows_none(hint):
            raise ValueError(f"it has no {printable(start + name)!r}")
        values[name] = _value(hint, table.get(name), start + name)
    others = [name for name in table if name not in known]
    more = {name: _value(Any, table[name], start + name) for name in others}
    try:
        return cls(
            **values,
            nulls=frozenset(name for name in known if name in table and table[name] is None),
            more=more,
        )
    except ValueError as error:  # from `__post_init__`, which does not know the path
        raise ValueError(f"its {where!r}: {error}" if where else str(error)) from None


def table(record: Record) -> dict[str, Any]:
    """The JSON table of a record, the inverse of `parsed`."""
    nulls = record.nulls
    if nulls is None:
        nulls = frozenset(f.name for f in fields(record) if f.default is MISSING)
    values = record.part(type(record))
    known = {name: v for name, v in values.items() if v is not None or name in nulls}
    return {**{name: _plain(value) for name, value in known.items()}, **record.more}


def with_nulls(record: R, *more: str) -> R:
    """The record, with these fields too written as null if None; in a new record, only these."""
    return replace(record, nulls=(record.nulls or frozenset()) | set(more))


def within(low: float, high: float = float("inf")) -> Callable[[float], bool]:
    """A predicate for `Annotated`: low <= number <= high."""
    return lambda value: low <= value <= high


Natural: TypeAlias = Annotated[int, within(0)]


def _value(hint: Any, value: Any, where: str) -> Any:
    """The value as the given type. Raises ValueError if it is not of that type."""
    base, inner = get_origin(hint), get_args(hint)
    if base is Annotated:
        found = _value(inner[0], value, where)
        if all(check(found) for check in inner[1:]):
            return found
    elif base in (UnionType, Union):
        return _one_of(inner, value, where)
    elif base is tuple and isinstance(value, list):
        kinds = inner[:1] * len(value) if inner[-1] is Ellipsis else inner
        if len(kinds) == len(value):
            items = enumerate(zip(kinds, value, strict=True))
            return tuple(_value(kind, item, f"{where}[{i}]") for i, (kind, item) in items)
    elif base is Mapping and isinstance(value, dict):
        return {key: _value(inner[1], item, f"{where}.{key}") for key, item in value.items()}
    elif isinstance(hint, type) and issubclass(hint, Record):
        return parsed(hint, value, where)
    elif base is None and _is(hint, value):
        return value
    raise ValueError(_unfit(where, value))


def is_a(kind: Any, value: Any) -> bool:
    """Whether a JSON value is of that type."""
    try:
        _value(kind, value, "")
    except ValueError:
        return False
    return True


def _one_of(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    """The value as the first type that fits. A single type raises its own error."""
    if value is None and NoneType in kinds:
        return None
    for kind in (own := [kind for kind in kinds if kind is not NoneType]):
        try:
            return _value(kind, value, where)
        except ValueError:
            if len(own) == 1:
                raise
    raise ValueError(_unfit(where, value))


def _is(kind: Any, value: Any) -> bool:
    if kind is Any:
        return _is_shallow(value)
    if isinstance(value, bool):  # an int in Python, but not in JSON
        return kind is bool
    if isinstance(value, int):
        return kind in (int, float) and abs(value) < 1 << 63
    return isinstance(value, kind)


def _is_shallow(value: Any, most: int = DEEPEST) -> bool:
    """Whether it is nested at most that deep."""
    if not isinstance(value, NESTS):
        return True
    items = value.values() if isinstance(value, dict) else value
    inner = (each for each in items if isinstance(each, NESTS))
    return most > 0 and all(_is_shallow(each, most - 1) for each in inner)


def _allows_none(hint: Any) -> bool:
    return hint is Any or NoneType in get_args(hint)


def _plain(value: Any) -> Any:
    """The value in JSON's types."""
    if isinstance(value, Record):
        return table(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _unfit(where: str, value: Any) -> str:
    what = printable(SHORT.repr(value))
    return f"its {printable(SHORT.repr(where))} is {what}" if where else f"it is {what}"
