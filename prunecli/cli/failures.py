"""What is said of a failure: to people on standard error, and with --json to programs."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import click

from prunecli.cli.answers import Failure
from prunecli.cli.call import Call
from prunecli.cli.debug import trace_if_wanted
from prunecli.errors import PruneError, printable, with_mend
from prunecli.files.parsing import table


class Interrupted(PruneError):
    exit_code = 128 + signal.SIGINT


class Killed(PruneError):
    exit_code = 128 + signal.SIGTERM


def fail(call: Call, error: PruneError, help: str = "") -> int:
    """Say why a command failed, and where to look for `help`; gives the exit code."""
    trace_if_wanted()
    more = f" ({help})" * bool(help)
    for line in _lines(error):
        click.echo(f"error: {line}{more}", err=True)
    call.answer(failure(error, help))
    return error.exit_code


def failure(error: PruneError, help: str = "") -> dict[str, Any]:
    """The answer of a command that failed."""
    what, mend = with_mend("\n".join(_lines(error)))
    code, kind = error.exit_code, error.family()
    return table(Failure(error=what, mend=mend or help or None, exit=code, kind=kind))


def kinds() -> dict[str, int]:
    """The exit code of each kind of failure."""

    def below(cls: type[PruneError]) -> Iterator[type[PruneError]]:
        yield cls
        for each in cls.__subclasses__():
            yield from below(each)

    return {each.family(): each.exit_code for each in below(PruneError)}


def _lines(error: PruneError) -> list[str]:
    return [printable(line.strip()) for line in str(error).split("\n") if line.strip()]
