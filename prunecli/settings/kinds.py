"""What the values of settings may be."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, TypeAlias

MOST = 1_000_000
"""The limit of a whole number that has none of its own."""


@dataclass(frozen=True)
class Switch:
    """A yes or no; where it `negates`, `--no-NAME` says no."""

    negates: bool = False

    def holds(self, value: Any) -> bool:
        return isinstance(value, bool)


@dataclass(frozen=True)
class OneOf:
    """One of these names."""

    names: tuple[str, ...]

    def holds(self, value: Any) -> bool:
        return value in self.names


@dataclass(frozen=True)
class Whole:
    """A whole number, `low` and `high` included."""

    low: int
    high: int = MOST

    def holds(self, value: Any) -> bool:
        number = isinstance(value, int) and not isinstance(value, bool)
        return number and self.low <= value <= self.high

    @property
    def limits(self) -> str:
        return f"{self.low}<=x<={self.high}"


@dataclass(frozen=True)
class Real:
    """A finite number, whose limits belong to it if `ends` says so.

    `ends` is written as in mathematics: "(]" leaves the lower end out, "[)" the upper one.
    """

    low: float
    high: float = math.inf
    ends: str = "(]"

    def holds(self, value: Any) -> bool:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and math.isfinite(value) and self.within(value)

    def within(self, value: float) -> bool:
        above = value >= self.low if self.ends[0] == "[" else value > self.low
        return above and (value <= self.high if self.ends[1] == "]" else value < self.high)

    @property
    def limits(self) -> str:
        least = f"x{'>=' if self.ends[0] == '[' else '>'}{self.low:g}"
        if math.isinf(self.high):
            return least
        low = f"{self.low:g}{'<=' if self.ends[0] == '[' else '<'}x"
        return f"{low}{'<=' if self.ends[1] == ']' else '<'}{self.high:g}"


@dataclass(frozen=True)
class PluginName:
    """The name of a plugin of this kind, or its import path."""

    kind: str


class Plain(Enum):
    """Kinds that have no more to say."""

    TEXT = auto()
    TEXTS = auto()
    """Any number of texts."""
    PAIRS = auto()
    """Any number of `key=value`."""
    OUTPUT = auto()
    """The path of the file that is written."""
    RECIPE = auto()
    """The path of a recipe, or the name of one that comes with prunecli."""
    DEVICE = auto()
    """The device to compute on."""


@dataclass(frozen=True)
class File:
    """A path that is read, or of a folder that is written to."""

    readable: bool = True
    """Whether that is for the command line to look at."""
    written: bool = False


Kind: TypeAlias = Switch | OneOf | Whole | Real | PluginName | File | Plain
REPEATED = (Plain.TEXTS, Plain.PAIRS)
"""Kinds of which an option takes any number."""
