"""Progress on stderr: a bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from prunecli.errors import printable
from prunecli.runtime.progress import Progress

EVERY = 5.0  # seconds between plain lines
DRAWN = 0.1  # seconds between two looks of the bar, which a short step would spend its time on


def progress(quiet: bool, verbose: bool) -> Progress:
    """The progress that suits standard error; for a job of a study, the study's own."""
    context = click.get_current_context(silent=True)
    if context and isinstance(context.obj, Progress):
        return context.obj
    if quiet:
        return Progress()
    watcher = Bar(verbose) if sys.stderr.isatty() else Lines(verbose)
    if context:
        context.call_on_close(watcher.close)
    return watcher


class Lines(Progress):
    """Plain lines, for logs."""

    def __init__(self, verbose: bool) -> None:
        self.verbose, self.next_line = verbose, time.monotonic() + EVERY

    def say(self, message: str) -> None:
        click.echo(printable(message), err=True)

    def detail(self, message: str) -> None:
        if self.verbose:
            self.say(message)

    def warn(self, message: str) -> None:
        self.say(f"warning: {message}")

    def close(self) -> None:
        """Leave the terminal as it was."""

    def advance(self, label: str, done: int, total: int, **facts: Any) -> None:
        if time.monotonic() >= self.next_line:
            self.next_line = time.monotonic() + EVERY
            self.say(f"{label}: {done}/{total}")


class Bar(Lines):
    """A bar that disappears when its work is done."""

    def __init__(self, verbose: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        super().__init__(verbose)
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
        )
        self.bar = RichProgress(
            *columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True
        )
        self.task: Any = None
        self.next_look = 0.0

    def say(self, message: str) -> None:
        self.close()
        super().say(message)

    def close(self) -> None:
        self.bar.stop()

    def advance(self, label: str, done: int, total: int, **facts: Any) -> None:
        if done < total and time.monotonic() < self.next_look:
            return
        self.next_look = time.monotonic() + DRAWN
        label = printable(label)
        if self.task is None:
            self.task = self.bar.add_task(label, total=total)
        self.bar.start()
        self.bar.update(self.task, description=label, completed=done, total=total)
        if done == total:
            self.close()
