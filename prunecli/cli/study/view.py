"""The display of a study: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from typing import Any

import click

from prunecli.cli.progress import Lines
from prunecli.errors import printable
from prunecli.recipe.execute import Watcher
from prunecli.recipe.plan import Job
from prunecli.runtime.progress import Progress


def watcher(jobs: list[Job], slots: int, quiet: bool, verbose: bool) -> Log:
    """The log that suits standard error."""
    if not quiet and sys.stderr.isatty():
        return Live(jobs, slots, verbose)
    return Log(jobs, slots, quiet, verbose)


class Forecast:
    """A forecast of a study's remaining time, from the times of its finished jobs."""

    def __init__(self, jobs: list[Job], slots: int) -> None:
        self.left = {job.name: job for job in jobs}
        self.slots = slots
        self.began: dict[str, float] = {}
        self.took: dict[str, list[float]] = defaultdict(list)
        """Seconds that each job took, by step and by command."""

    def starts(self, job: Job) -> None:
        self.began[job.name] = time.monotonic()

    def ends(self, job: Job, ran: bool) -> float:
        """Note that a job has ended; returns the seconds that it took."""
        del self.left[job.name]
        seconds = time.monotonic() - self.began.pop(job.name, time.monotonic())
        if ran:
            self.took[job.step].append(seconds)
            self.took[f"{job.command} "].append(seconds)
        return seconds

    def seconds_left(self) -> float | None:
        """The remaining seconds of the study; None before any job has ended.

        A step that has not run yet counts with the mean of its command.
        """
        every = [seconds for times in self.took.values() for seconds in times]
        if not every:
            return None
        total, now = 0.0, time.monotonic()
        for job in self.left.values():
            times = self.took.get(job.step) or self.took.get(f"{job.command} ") or every
            spent = now - self.began.get(job.name, now)
            total += max(0.0, sum(times) / len(times) - spent)
        return total / min(self.slots, max(1, len(self.left)))


def duration(seconds: float) -> str:
    """The time in its one or two largest units: '42 s', '5 min', '2 h 05 min'."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


class Log(Watcher):
    """Plain lines, for logs."""

    def __init__(self, jobs: list[Job], slots: int, quiet: bool, verbose: bool) -> None:
        self.quiet, self.verbose = quiet, verbose
        self.forecast = Forecast(jobs, slots)
        self.total, self.slots = len(jobs), slots
        self.counts = {"ran": 0, "done": 0, "taken": 0, "failed": 0, "left": 0}
        self.numbers = {job.name: number for number, job in enumerate(jobs, 1)}

    def __enter__(self) -> Log:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            self.say(self.summary())

    def starts(self, job: Job) -> Progress:
        self.forecast.starts(job)
        self.say(f"{self._title(job)}: {job.command}")
        return Progress() if self.quiet else JobLines(job.name if self.slots > 1 else "", self)

    def ends(self, job: Job, how: str, note: str = "") -> None:
        seconds = self.forecast.ends(job, how == "ran")
        self.counts[how] += 1
        if how == "done" and self.verbose:
            self.say(f"{self._title(job)}: done already")
        if how == "taken":
            self.say(f"{self._title(job)}: taken from {note}")
        if how in ("failed", "left"):
            self.warn(f"{self._title(job)}: {note}")
        if how == "ran" and seconds >= 1:
            left = self.forecast.seconds_left()
            more = f", about {duration(left)} left" if left and self.forecast.left else ""
            self.say(f"{self._title(job)}: done in {duration(seconds)}{more}")

    def _title(self, job: Job) -> str:
        return f"[{self.numbers[job.name]}/{self.total}] {job.name}"

    def summary(self) -> str:
        taken = f", {self.counts['taken']} taken from other folders" * (self.counts["taken"] > 0)
        return f"{self.counts['ran']} jobs done now, {self.counts['done']} were done before{taken}"

    def say(self, message: str) -> None:
        if not self.quiet:
            click.echo(printable(message), err=True)

    def warn(self, message: str) -> None:
        self.say(f"warning: {message}")


class JobLines(Lines):
    """The lines of one job, with its name if several run in parallel."""

    def __init__(self, name: str, log: Log) -> None:
        super().__init__(log.verbose)
        self.name, self.log = name, log

    def say(self, message: str) -> None:
        self.log.say(f"{self.name}: {message}" if self.name else message)


class Live(Log):
    """A line for each running job, and one for the study."""

    def __init__(self, jobs: list[Job], slots: int, verbose: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as RichProgress

        super().__init__(jobs, slots, False, verbose)
        self.bars = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=Console(stderr=True),
            transient=True,
        )
        self.study = self.bars.add_task("study", total=len(jobs), note="")
        self.tasks: dict[str, Any] = {}

    def __enter__(self) -> Live:
        self.bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self.bars.stop()
        super().__exit__(kind, *rest)

    def say(self, message: str) -> None:
        self.bars.console.print(printable(message), markup=False, highlight=False, soft_wrap=True)

    def starts(self, job: Job) -> Progress:
        self.forecast.starts(job)
        task = self.tasks[job.name] = self.bars.add_task(printable(job.name), total=None, note="")
        return JobBar(job.name, self, task)

    def ends(self, job: Job, how: str, note: str = "") -> None:
        if task := self.tasks.pop(job.name, None):
            self.bars.remove_task(task)
        super().ends(job, how, note)
        left = self.forecast.seconds_left()
        more = f"about {duration(left)} left" if left else ""
        failed = f"{self.counts['failed']} failed " * (self.counts["failed"] > 0)
        self.bars.update(self.study, advance=1, note=failed + more)


class JobBar(JobLines):
    """The bar of one job."""

    def __init__(self, name: str, live: Live, task: Any) -> None:
        super().__init__(name, live)
        self.live, self.task = live, task

    def advance(self, label: str, done: int, total: int, **facts: Any) -> None:
        self.live.bars.update(self.task, completed=done, total=total, note=printable(label))
