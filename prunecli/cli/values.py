"""The types of option values."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from prunecli.cli.completion import started, written_options
from prunecli.errors import BadUsage
from prunecli.plugins.names import FAMILIES, check_name, names
from prunecli.runtime.machine import at_home
from prunecli.settings.kinds import Real

if TYPE_CHECKING:
    _Text = click.ParamType[str]
    _Number = click.ParamType[float]
    _Pair = click.ParamType[tuple[str, str]]
else:  # click before 8.4 cannot be subscripted
    _Text = _Number = _Pair = click.ParamType


T = TypeVar("T")
FOLDER = "prunecli.folder"
"""The key in a context's `meta` of an output that was written as the name of a folder."""


class Place(click.Path):
    """A path, where `~` can stand for the home folder; see `machine.at_home`."""

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

        # Files go first: on them, bash forgets the words before.
        return [*super().shell_complete(ctx, param, incomplete), *started(shipped(), incomplete)]


class Number(_Number):
    """A finite number within limits."""

    name = "number"

    def __init__(self, real: Real) -> None:
        self.real = real

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError):
            meant = _meant(str(value))
            hint = f"; write {meant:g}" if self.real.low <= meant <= self.real.high else ""
            self.fail(f"{value!r} is not a number{hint}", param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number", param, ctx)
        if not self.real.within(number):
            self.fail(f"{value} is not {self._limits()}", param, ctx)
        return number

    def _limits(self) -> str:
        low, high, ends = self.real.low, self.real.high, self.real.ends
        least = f"{'at least' if ends[0] == '[' else 'above'} {low:g}"
        most = f" and {'at most' if ends[1] == ']' else 'below'} {high:g}"
        return least + (most if math.isfinite(high) else "")


def _meant(text: str) -> float:
    """The number that a text means: 0.5 for '50%' and '0,5', a thousand for '1,000'; else NaN."""
    bare = text.removesuffix("%")
    bare = re.sub(r",(\d{3})(?!\d)", r"\1", bare) if bare[:1] != "0" else bare
    try:
        return float(bare.replace(",", ".", 1)) / (100 if text.endswith("%") else 1)
    except ValueError:
        return math.nan


class Device(_Text):
    name = "device"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        # torch takes the number modulo 256: cuda:256 would be another GPU than was asked for.
        if not re.fullmatch(r"auto|cpu|cuda(:(0|[1-9][0-9]?))?", value, re.ASCII):
            self.fail(f"{value!r} is not auto, cpu, cuda or cuda:N", param, ctx)
        return str(value)


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


def as_file(ctx: click.Context, param: click.Parameter, value: str | None) -> Path | None:
    """The path of an output; a trailing slash, which a Path drops, is noted."""
    if value is not None and no_stream(ctx, param, value).endswith(os.sep):
        ctx.meta[FOLDER] = value
    return None if value is None else Path(value)


def no_stream(ctx: click.Context, param: click.Parameter, value: T) -> T:
    """The path of an output, as given. Raises BadParameter for the `-` of other programs."""
    if str(value) == "-":
        text = "standard output is for the paths of outputs; give a file"
        raise click.BadParameter(text, ctx, param)
    return value
