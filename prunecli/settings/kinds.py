"""The kinds of values that settings take."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, TypeAlias

MOST = 1_000_000
"""The default upper limit of a whole number."""


@dataclass(frozen=True)
class Switch:
    """True or false; with `negates`, `--no-NAME` sets false."""

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
    """A whole number from `low` to `high`, both included."""

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
    """A finite number between two limits; `ends` says which of them are included.

    `ends` follows the notation of intervals: "(]" excludes the lower limit, "[)" the upper one.
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
    """Kinds without parameters."""

    TEXT = auto()
    TEXTS = auto()
    """Any number of texts."""
    PAIRS = auto()
    """Any number of `key=value`."""
    OUTPUT = auto()
    """The path of the output file."""
    RECIPE = auto()
    """The path of a recipe, or the name of one that comes with prunecli."""
    DEVICE = auto()
    """The device to compute on."""


@dataclass(frozen=True)
class File:
    """A path to read from, or a folder to write to."""

    readable: bool = True
    """Whether the command line checks that the path can be read."""
    written: bool = False


Kind: TypeAlias = Switch | OneOf | Whole | Real | PluginName | File | Plain
REPEATED = (Plain.TEXTS, Plain.PAIRS)
"""Kinds whose options can be repeated."""
