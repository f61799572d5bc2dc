"""What the values of options may be."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from prunecli.cli.completion import started, written_options
from prunecli.errors import BadUsage
from prunecli.plugins.names import FAMILIES, check_name, names
from prunecli.runtime.machine import at_home

if TYPE_CHECKING:
    _Text = click.ParamType[str]
    _Number = click.ParamType[float]
    _Pair = click.ParamType[tuple[str, str]]
else:  # click before 8.4 cannot be subscripted
    _Text = _Number = _Pair = click.ParamType


T = TypeVar("T")


class Place(click.Path):
    """A path, maybe in the user's folder; see `machine.at_home`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(at_home(value), param, ctx)


class Named(_Text):
    """The name of a plugin; whether it is known is checked without importing it."""

    def __init__(self, kind: str) -> None:
        self.kind, self.name = kind, "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            check_name(self.kind, value)
        except BadUsage as error:
            families = "".join(
                f"; there is {name}:NAME too" for name in FAMILIES.get(self.kind, ())
            )
            self.fail(f"{error}{families}", param, ctx)
        return str(value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return started(names(self.kind), incomplete)


class Recipe(Place):
    """The path of a recipe, or the name of one that comes with prunecli."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from prunecli.recipe.shipped import shipped

        return [*started(shipped(), incomplete), *super().shell_complete(ctx, param, incomplete)]


class Number(_Number):
    """A finite number between `low` and `high`, whose ends belong to it if `ends` says so.

    `ends` is written as in mathematics: "(]" leaves the lower end out, "[)" the upper one.
    """

    name = "number"

    def __init__(self, low: float, high: float = math.inf, ends: str = "(]") -> None:
        self.low, self.high, self.ends = low, high, ends

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError):
            meant = _meant(str(value))
            hint = f"; write {meant:g}" if self.low <= meant <= self.high else ""
            self.fail(f"{value!r} is not a number{hint}", param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number", param, ctx)
        low_ok = number >= self.low if self.ends[0] == "[" else number > self.low
        high_ok = number <= self.high if self.ends[1] == "]" else number < self.high
        if not (low_ok and high_ok):
            least = f"{'at least' if self.ends[0] == '[' else 'above'} {self.low:g}"
            most = f" and {'at most' if self.ends[1] == ']' else 'below'} {self.high:g}"
            limits = least + (most if math.isfinite(self.high) else "")
            self.fail(f"{value} is not {limits}", param, ctx)
        return number


def _meant(text: str) -> float:
    """0.5, for '50%' and '0,5', and a thousand for '1,000'; NaN for what is no number."""
    bare = text.removesuffix("%")
    bare = re.sub(r",(\d{3})(?!\d)", r"\1", bare) if bare[:1] != "0" else bare
    try:
        return float(bare.replace(",", ".", 1)) / (100 if text.endswith("%") else 1)
    except ValueError:
        return math.nan


class KeyValue(_Pair):
    name = "k=v"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        key, equals, text = str(value).partition("=")
        if not equals or not key:
            self.fail(f"{value!r} is not of the form key=value", param, ctx)
        return key, text

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        kind, by = getattr(ctx.command, "plugins", {}).get(param.name, ("", ""))
        if not ctx.params.get(by):
            return []
        options = written_options(kind, ctx.params[by])
        return started((f"{name}=" for name in options), incomplete)


def as_dict(
    ctx: click.Context, param: click.Parameter, pairs: tuple[tuple[str, str], ...]
) -> dict[str, str]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise click.BadParameter("the same key is given twice", ctx, param)
    return table


def no_stream(ctx: click.Context, param: click.Parameter, value: T) -> T:
    """An output that is none in name only. Raises BadParameter for the `-` of other programs."""
    if str(value) == "-":
        text = "results are written whole, and standard output carries their paths; name a file"
        raise click.BadParameter(text, ctx, param)
    return value
