"""What is said of a failure: to people on standard error, and with --json to programs."""

from __future__ import annotations

import signal
from typing import Any

import click

from prunecli.cli.answers import Failure
from prunecli.cli.call import Call
from prunecli.cli.debug import trace_if_wanted
from prunecli.errors import PruneError, printable, with_mend
from prunecli.files.parsing import table


class Interrupted(PruneError):
    """Ctrl-C."""

    exit_code = 128 + signal.SIGINT


class Killed(PruneError):
    """SIGTERM."""

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


def kinds() -> dict[str, type[PruneError]]:
    """Each kind of failure, one for each exit code."""
    found: dict[str, type[PruneError]] = {}
    waiting: list[type[PruneError]] = [PruneError]
    while waiting:
        cls = waiting.pop(0)
        waiting += cls.__subclasses__()
        found.setdefault(cls.family(), cls)
    return found


def _lines(error: PruneError) -> list[str]:
    return [printable(line.strip()) for line in str(error).split("\n") if line.strip()]
