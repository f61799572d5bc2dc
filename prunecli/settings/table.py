"""The table of settings: dataclasses whose fields declare everything about an option.

The command line and its help, the keys of a recipe and their schema, the reference, and the
settings that a step gets are all made from it. Importing it is quick: it loads neither torch nor
click.
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
    """How a setting is written on the command line and in a recipe, and its help."""

    help: str
    kind: Kind
    flag: str = ""
    """The name with its dashes; by default made from the field's name."""
    short: str = ""
    metavar: str = ""
    envvar: str = ""
    unset: str = ""
    """The default in words, where it is decided later."""
    required: bool = False
    sets: str = ""
    """The option that names the plugin whose options this one sets."""
    decides: bool = True
    """Whether the output depends on it."""
    silent: Any = False
    """The value that counts as not given. For an option newer than some studies it is the default,
    so that those studies still recognise their work."""
    reserved: bool = False
    """Whether 'prunecli run' sets it, so that a recipe cannot."""
    default: Any = None
    """The default of the field."""

    @property
    def name(self) -> str:
        """The key in a recipe, with '_' for '-'."""
        return key_of(self.flag)

    @property
    def limits(self) -> str:
        """The allowed values in short: 'a|b', '0<x<=1'."""
        if isinstance(self.kind, OneOf):
            return "|".join(self.kind.names)
        return self.kind.limits if isinstance(self.kind, Whole | Real) else ""

    @property
    def otherwise(self) -> str:
        """The default in words; "" for none."""
        if self.unset or self.default in (None, ()):
            return self.unset
        if isinstance(self.kind, Switch):
            off = f"no-{self.flag[2:]}" if self.kind.negates else ""
            return self.flag[2:] if self.default else off
        return "" if self.kind is Plain.PAIRS else str(self.default)


def key_of(flag: str) -> str:
    """The name of this flag's option among parameters and in recipes."""
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
    """A field with an option of its own; `more` goes to `Option`."""
    return field_of(Option(help, kind, **more), default)


def group(table: type) -> Any:
    """A field that is a table itself; its options are listed among the others."""
    return field(default_factory=table, metadata={"group": table})


def some_of(table: type, unset: Callable[[Option], str]) -> Any:
    """A field of type Mapping: the settings of another table that were given.

    `unset` words the default of those that were not.
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
    """Raise BadUsage for a value that the command line would refuse, in a table or its groups."""
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
    """The flag of the first of these fields that was given; "" if none was."""
    rows = {name: option_of(type(settings), name) for name in names}
    return next((row.flag for name, row in rows.items() if getattr(settings, name)), "")


def read(table: type[S], params: Mapping[str, Any]) -> S:
    """The settings of a table, from parameters named after its options.

    A field without an option takes the parameter of its own name, if there is one.
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
    """By option that sets a plugin's options: the plugin's kind, and the option that names it."""
    named = {row.name: (rows[row.sets].kind, row.sets) for row in rows.values() if row.sets}
    return {n: (kind.kind, by) for n, (kind, by) in named.items() if isinstance(kind, PluginName)}
