"""Standard output and error, which work even if nobody reads them."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Any, TextIO

import click

from prunecli.errors import BadOutput, printable, reason


class _Results(io.FileIO):
    """Standard output, which carries results. A closed pipe still raises BrokenPipeError."""

    def write(self, data: Any, /) -> int:
        """Write a result. Raises BadOutput where there is no room for it."""
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            # What could not be written stays in the buffer, and would fail once more at the end.
            _to_nowhere(self.fileno())
            raise BadOutput(f"standard output: cannot be written: {reason(error)}") from None


class _Messages(io.FileIO):
    """Standard error: text that cannot be written is dropped, since no work depends on it."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def open_streams() -> None:
    """Have both streams be there, also after `>&-`, take any text, and fail as told above."""
    # Others than the process's own are somebody's who calls this, such as a test.
    if sys.stdout is sys.__stdout__:
        sys.stdout = _stream(1, sys.stdout, _Results)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _stream(2, sys.stderr, _Messages)


def _stream(number: int, before: TextIO | None, kind: type[io.FileIO]) -> TextIO:
    if before is None:
        _to_nowhere(number)
    return io.TextIOWrapper(
        io.BufferedWriter(kind(number, "w", closefd=False)),
        encoding=before.encoding if before else None,
        errors="backslashreplace",
        line_buffering=True,
    )


def _to_nowhere(number: int) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), number)
    os.set_inheritable(number, True)  # which `dup2` leaves undone if it was that number already


def print_path(path: Path) -> None:
    """Print the path of a result: its exact bytes for a program, escaped on a terminal."""
    click.echo(printable(str(path)) if sys.stdout.isatty() else os.fsencode(path))


def print_text(text: str) -> None:
    """Print a result of many lines: unchanged, or escaped on a terminal."""
    sys.stdout.write(legible(text) if sys.stdout.isatty() else text)  # click would take codes out


def legible(text: str) -> str:
    """Text of many lines with all but the ends of lines and tabs `printable`."""
    return "\n".join("\t".join(map(printable, line.split("\t"))) for line in text.split("\n"))
