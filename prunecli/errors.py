"""Every failure that prunecli expects, with its exit code.

    PruneError               1   a bug, if nothing below fits
    ├── BadUsage             2   the command line or the recipe is wrong
    ├── BadInput             3   a file cannot be read, or is of the wrong kind
    ├── Mismatch             4   the inputs do not fit together
    ├── BadOutput            5   the output exists, is locked or cannot be written
    ├── BadEnvironment       6   device, data set, package, memory or open files missing
    ├── NotFinite            7   NaN or infinity in weights, scores or loss
    └── JobsFailed           8   some jobs of a recipe failed

The message is one line: what is wrong, where, and how to fix it. Only `prunecli.cli` turns errors
into exit codes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from difflib import get_close_matches

MANY = 30
"""From this many names on, a message does not list them."""

LIKE = 0.65
"""The similarity of two words, by difflib, above which one is suggested for the other."""


class PruneError(Exception):
    exit_code = 1


class BadUsage(PruneError):
    exit_code = 2


class BadInput(PruneError):
    exit_code = 3


class Mismatch(PruneError):
    exit_code = 4


class BadOutput(PruneError):
    exit_code = 5


class BadEnvironment(PruneError):
    exit_code = 6


class NotFinite(PruneError):
    exit_code = 7


class JobsFailed(PruneError):
    exit_code = 8


def printable(text: str) -> str:
    """The text with control characters and the like escaped: safe on any terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def reason(error: Exception) -> str:
    """What the system says is wrong with a path, without the path."""
    if isinstance(error, FileExistsError) and error.filename:  # of a folder that was to be made
        there = os.path.lexists(error.filename) and not os.path.exists(error.filename)  # noqa: PTH110
        what = "a broken link" if there else "not a folder"
        return f"{printable(os.fsdecode(error.filename))} is {what}"
    return getattr(error, "strerror", None) or str(error)


def some(names: Sequence[str], most: int = 3) -> str:
    """The first few names, and how many more there are: 'a, b, c and 4 more'."""
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def suggest(word: str, known: list[str]) -> str:
    """The end of a message: '; did you mean "x"?', or what there is to choose from.

    It is empty where nothing is alike, and there is too much to choose from.
    """
    by_letters = {name.lower(): name for name in known}
    near = get_close_matches(word.lower(), by_letters, n=1, cutoff=LIKE)
    if near:
        return f"; did you mean {by_letters[near[0]]!r}?"
    if len(known) > MANY:
        return ""
    return f"; there are {', '.join(known)}" if known else "; there are none"
