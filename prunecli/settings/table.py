"""The table of settings: dataclasses whose fields say all that there is to say of an option.

From them come the command line and its help, the keys of a recipe and their schema, the reference,
and what a step is given. Importing a table is quick: it loads neither torch nor a command line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from functools import cache
from typing import Any, TypeVar

from prunecli.errors import BadUsage, suggest
from prunecli.settings.kinds import Kind, OneOf, Plain, PluginName, Real, Switch, Whole

S = TypeVar("S")


@dataclass(frozen=True)
class Option:
    """The way a setting is said on a command line and in a recipe, and what is said of it."""

    help: str
    kind: Kind
    flag: str = ""
    """The name with its dashes; the field's name if not given."""
    short: str = ""
    metavar: str = ""
    envvar: str = ""
    unset: str = ""
    """What holds if it is not given, where that is decided later."""
    required: bool = False
    sets: str = ""
    """The option that names the plugin of which this one sets an option, or several."""
    decides: bool = True
    """Whether what is written depends on it."""
    silent: Any = False
    """The value that counts as if the option was left out. Of an option that is newer than some
    studies it is the default, so that these still recognise their work."""
    reserved: bool = False
    """Whether 'prunecli run' sets it, and no recipe does."""
    default: Any = None
    """The default of the field."""

    @property
    def name(self) -> str:
        """The key in a recipe, with '_' for '-'."""
        return key_of(self.flag)

    @property
    def limits(self) -> str:
        """The values that it may have, where words are few: 'a|b', '0<x<=1'."""
        if isinstance(self.kind, OneOf):
            return "|".join(self.kind.names)
        return self.kind.limits if isinstance(self.kind, Whole | Real) else ""

    @property
    def otherwise(self) -> str:
        """What holds if it is not given, in words; "" for nothing."""
        if self.unset or self.default in (None, ()):
            return self.unset
        if isinstance(self.kind, Switch):
            off = f"no-{self.flag[2:]}" if self.kind.negates else ""
            return self.flag[2:] if self.default else off
        return "" if self.kind is Plain.PAIRS else str(self.default)


def key_of(flag: str) -> str:
    """What parameters and recipes call the option of this flag."""
    return flag.removeprefix("--").replace("-", "_")


def field_of(option: Option, default: Any = None) -> Any:
    """A field that this option sets."""
    if isinstance(option.kind, Switch) and default is None:
        default = False
    if option.kind is Plain.TEXTS:
        default = ()
    if option.kind is Plain.PAIRS:
        return field(default_factory=dict, metadata={"option": option})
    return field(default=default, metadata={"option": option})


def option(help: str, kind: Kind, default: Any = None, **more: Any) -> Any:
    """A field that an option of its own sets; see `Option` for what `more` may say."""
    return field_of(Option(help, kind, **more), default)


def group(table: type) -> Any:
    """A field with settings of its own, whose options stand among the others."""
    return field(default_factory=table, metadata={"group": table})


def some_of(table: type, unset: Callable[[Option], str]) -> Any:
    """A field of type Mapping: of another table's settings, those that were given.

    `unset` puts into words what holds for the others.
    """
    return field(default_factory=dict, metadata={"some of": table, "unset": unset})


@cache
def options(table: type) -> tuple[Option, ...]:
    """The options of a table, in the order of its fields."""
    found: list[Option] = []
    for each in fields(table):
        known = each.metadata
        if "group" in known:
            found += options(known["group"])
        elif "some of" in known:
            unset = known["unset"]
            found += [replace(x, default=None, unset=unset(x)) for x in options(known["some of"])]
        elif "option" in known:
            default = {} if each.default is MISSING else each.default
            found.append(replace(known["option"], flag=_flag(each), default=default))
    return tuple(found)


def _flag(each: Field[Any]) -> str:
    return each.metadata["option"].flag or f"--{each.name.replace('_', '-')}"


def option_of(table: type, name: str) -> Option:
    """The option of a field of the table itself."""
    [flag] = [_flag(each) for each in fields(table) if each.name == name]
    return next(row for row in options(table) if row.flag == flag)


def check(settings: Any) -> None:
    """Raise BadUsage for a value that no command line would take, of a table or its groups."""
    for each in fields(settings):
        value, known = getattr(settings, each.name), each.metadata
        if "group" in known:
            check(value)
        if "option" not in known or value is None or value == each.default:
            continue
        kind = known["option"].kind
        if not isinstance(kind, Switch | OneOf | Whole | Real) or kind.holds(value):
            continue
        if isinstance(kind, OneOf):
            raise BadUsage(
                f"{_flag(each)} cannot be {value!r}{suggest(str(value), list(kind.names))}"
            )
        limits = option_of(type(settings), each.name).limits or "true or false"
        raise BadUsage(f"{_flag(each)} cannot be {value!r}: {limits}")


def flag_said(settings: Any, *names: str) -> str:
    """The flag of the first of these fields that was said; "" if none was."""
    rows = {name: option_of(type(settings), name) for name in names}
    return next((row.flag for name, row in rows.items() if getattr(settings, name)), "")


def read(table: type[S], params: Mapping[str, Any]) -> S:
    """The settings that parameters by the options' names say.

    A field without an option is what the parameter of its own name says, if there is one.
    """
    values: dict[str, Any] = {}
    own: type = table
    for each in fields(own):
        known = each.metadata
        if "group" in known:
            values[each.name] = read(known["group"], params)
        elif "some of" in known:
            names = [option.name for option in options(known["some of"])]
            values[each.name] = {name: params[name] for name in names if params[name] is not None}
        else:
            name = key_of(_flag(each)) if "option" in known else each.name
            if name in params:
                values[each.name] = params[name]
    return table(**values)


def plugins(rows: Mapping[str, Option]) -> dict[str, tuple[str, str]]:
    """The options that set those of a plugin: its kind, and the option that names it."""
    named = {row.name: (rows[row.sets].kind, row.sets) for row in rows.values() if row.sets}
    return {n: (kind.kind, by) for n, (kind, by) in named.items() if isinstance(kind, PluginName)}
