"""JSON as frozen dataclasses, which are the one declaration of its form: parsed strictly, written.

A field's type says what the JSON may hold: `str`, `bool`, `int`, `float` (any number), `tuple[...]`
(a list), `Mapping[str, ...]` (a table), another `Record`, or `Any`. `Annotated` adds functions that
must say yes to the value. Where the type allows None, the key may be missing or null.
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
"""The short form in which messages tell what is not as it should be."""
DEEPEST = 100
"""Tables and lists within each other in a value of any form: all can be walked through and written,
however deep Python is in other work."""
NESTS = (dict, list)


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a table in JSON says; see `parsed` and `table`.

    Of a new record, None is written as null where the field has no default, and else left out.
    """

    nulls: frozenset[str] | None = field(default=None, compare=False)
    """The fields that are written as null where they are None, if it is not as said above."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """What the table holds under other names, as a newer version may write."""

    @classmethod
    @cache
    def types(cls) -> dict[str, Any]:
        """The type of each field that a table of this record has, by its name."""
        hints = get_type_hints(cls, include_extras=True)
        own = {f.name for f in fields(cls)} - {f.name for f in fields(Record)}
        return {name: hints[name] for name in hints if name in own}

    def part(self, cls: type[Record]) -> dict[str, Any]:
        """The values of the fields that this record has in common with those of that class."""
        return {name: getattr(self, name) for name in cls.types() if name in self.types()}


R = TypeVar("R", bound=Record)
Scalar: TypeAlias = str | bool | int | float


def parsed(cls: type[R], table: Any, where: str = "") -> R:
    """The record of a table; `where` is where that stands. Raises ValueError naming the field."""
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
    except ValueError as error:  # of `__post_init__`, which does not know the where
        raise ValueError(f"its {where!r}: {error}" if where else str(error)) from None


def table(record: Record) -> dict[str, Any]:
    """What is to be written of a record: `parsed` makes the same record of it."""
    nulls = record.nulls
    if nulls is None:
        nulls = frozenset(f.name for f in fields(record) if f.default is MISSING)
    values = record.part(type(record))
    known = {name: v for name, v in values.items() if v is not None or name in nulls}
    return {**{name: _plain(value) for name, value in known.items()}, **record.more}


def with_nulls(record: R, *more: str) -> R:
    """The record, of which these fields are written as null too where they are None.

    Of a new record these alone are.
    """
    return replace(record, nulls=(record.nulls or frozenset()) | set(more))


def within(low: float, high: float = float("inf")) -> Callable[[float], bool]:
    """A check, for `Annotated`, whether a number is in a range, its ends included."""
    return lambda value: low <= value <= high


Natural: TypeAlias = Annotated[int, within(0)]


def _value(hint: Any, value: Any, where: str) -> Any:
    """The value as the type says. Raises ValueError for one that is none of it."""
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
    """Whether the value is of that type, as JSON has it."""
    try:
        _value(kind, value, "")
    except ValueError:
        return False
    return True


def _one_of(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    """The value as the first type that it is of.

    Where there is but one type, that says what is wrong.
    """
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
    if isinstance(value, bool):  # which is an int to Python, and is none here
        return kind is bool
    if isinstance(value, int):
        return kind in (int, float) and abs(value) < 1 << 63
    return isinstance(value, kind)


def _is_shallow(value: Any, most: int = DEEPEST) -> bool:
    """Whether it is nested no deeper than that."""
    if not isinstance(value, NESTS):
        return True
    items = value.values() if isinstance(value, dict) else value
    inner = (each for each in items if isinstance(each, NESTS))
    return most > 0 and all(_is_shallow(each, most - 1) for each in inner)


def _allows_none(hint: Any) -> bool:
    return hint is Any or NoneType in get_args(hint)


def _plain(value: Any) -> Any:
    """The value as JSON has it."""
    if isinstance(value, Record):
        return table(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _unfit(where: str, value: Any) -> str:
    what = printable(SHORT.repr(value))
    return f"its {printable(SHORT.repr(where))} is {what}" if where else f"it is {what}"
