"""Every failure that prunecli expects, with its exit code.

    PruneError               1
    ├── BadUsage             2
    ├── BadInput             3
    ├── Mismatch             4
    ├── BadOutput            5
    ├── BadEnvironment       6
    ├── NotFinite            7
    └── JobsFailed           8

The message is one line, "what is wrong and where; how to fix it". The fix is a field of its own in
JSON: it is what follows the last "; " outside quotes and backquotes, so use "; " for nothing else.
Only `prunecli.cli` turns errors into exit codes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from difflib import get_close_matches

MANY = 30
"""From this many names on, a message does not list them."""

LIKE = 0.65
"""The similarity of two words, by difflib, above which one is suggested for the other."""


QUOTED = re.compile(r"`[^`]*`|(?<!\w)'[^']*'")
"""What is in backquotes or quotes: a command or a name, where a "; " says nothing."""


class PruneError(Exception):
    """A bug, if no other fits."""

    exit_code = 1

    @classmethod
    def family(cls) -> str:
        """The name that goes with the exit code: its own, or that of what it is a case of."""
        return next(each.__name__ for each in cls.__mro__ if "exit_code" in vars(each))


class BadUsage(PruneError):
    """The command line or the recipe is wrong."""

    exit_code = 2


class BadInput(PruneError):
    """A file cannot be read, or is not what it should be."""

    exit_code = 3


class Mismatch(PruneError):
    """The inputs do not belong together."""

    exit_code = 4


class BadOutput(PruneError):
    """The output exists, is locked or cannot be written."""

    exit_code = 5


class BadEnvironment(PruneError):
    """Device, data set, package, memory or open files missing."""

    exit_code = 6


class NotFinite(PruneError):
    """NaN or infinity in weights, scores or loss."""

    exit_code = 7


class JobsFailed(PruneError):
    """Some jobs of a recipe failed."""

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


def with_mend(message: str) -> tuple[str, str | None]:
    """What is wrong, and what to do about it; None if the message does not say that.

    Of several faults, a line each, every line keeps its own.
    """
    hidden = QUOTED.sub(lambda found: "_" * len(found[0]), message)
    what, mark, _ = hidden.rpartition("; ")
    if not mark or "\n" in message.strip():
        return message, None
    return message[: len(what)], message[len(what) + len(mark) :]


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
