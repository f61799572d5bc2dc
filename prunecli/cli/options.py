"""Click's options, made from the table of settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from prunecli.cli.values import (
    Device,
    KeyValue,
    Named,
    Number,
    Place,
    Recipe,
    as_dict,
    as_file,
    no_stream,
)
from prunecli.plugins.trust import trust
from prunecli.settings.kinds import (
    REPEATED,
    File,
    Kind,
    OneOf,
    Plain,
    PluginName,
    Real,
    Switch,
    Whole,
)
from prunecli.settings.run import TRUST
from prunecli.settings.table import Option


class Setting(click.Option):
    """An option from a `row` of the table. Its help shows defaults and limits in one form."""

    def __init__(self, row: Option) -> None:
        self.row = row
        repeated = row.kind in REPEATED
        kind: dict[str, Any] = {"type": click_type(row.kind), "multiple": repeated}
        if isinstance(row.kind, Switch):
            kind = {"is_flag": True}
        if not row.required:  # to click, None is a value like any other
            kind["default"] = () if repeated else row.default
        super().__init__(
            [*filter(None, [row.short, _flags(row), row.name])],
            required=row.required,
            metavar=row.metavar or ("K=V" if row.kind is Plain.PAIRS else None),
            envvar=row.envvar or None,
            help=row.help,
            callback=_callback(row.kind),
            **kind,
        )

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        record = super().get_help_record(ctx)
        if record is None:
            return None
        facts = [f"default: {self.row.otherwise}"] * bool(self.row.otherwise)
        facts += [self.row.limits] * isinstance(self.row.kind, Whole | Real)
        facts += [f"env: {self.row.envvar}"] * bool(self.row.envvar) + ["required"] * self.required
        return record[0], self.row.help + f"  [{'; '.join(facts)}]" * bool(facts)


def trust_option() -> click.Option:
    """The --trust option, which is a setting of the process and not of a step."""
    option = Setting(TRUST)
    option.expose_value, option.callback = False, lambda ctx, param, names: trust(names)
    return option


def click_type(kind: Kind) -> click.ParamType[Any] | None:
    """What converts and checks a value of this kind; None for any text."""
    match kind:
        case OneOf(names):
            return click.Choice(names)
        case Whole(low, high):
            return click.IntRange(low, high)
        case Real():
            return Number(kind)
        case PluginName(plugins):
            return Named(plugins)
        case Plain.PAIRS:
            return KeyValue()
        case File(readable):
            return Place(path_type=Path, readable=readable)
        case Plain.OUTPUT:
            return Place()  # as text, which keeps the slash at its end
        case Plain.RECIPE:
            return Recipe()
        case Plain.DEVICE:
            return Device()
    return None


def _flags(row: Option) -> str:
    negates = isinstance(row.kind, Switch) and row.kind.negates
    return f"{row.flag}/--no-{row.flag[2:]}" if negates else row.flag


def _callback(kind: Kind) -> Callable[[click.Context, click.Parameter, Any], Any] | None:
    match kind:
        case Plain.PAIRS:
            return as_dict
        case Plain.OUTPUT:
            return as_file
        case File(written=True):
            return no_stream
    return None
