"""Run the jobs that are not done yet, as many in parallel as the engine takes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from prunecli.errors import QUOTED, BadInput, JobsFailed, PruneError, printable, some, with_mend
from prunecli.files.digest import file_sha256
from prunecli.recipe import records
from prunecli.recipe.engine import Engine
from prunecli.recipe.plan import Job
from prunecli.recipe.records import Wrote
from prunecli.runtime.progress import Progress
from prunecli.settings.study import RESERVED

FLAG = re.compile(r"(?<![\w-])--([a-z][a-z-]*)")
Inputs = Callable[[Job], Mapping[str, Any]]
"""Everything but the program that a job's output depends on, as JSON."""


def behind(jobs: list[Job], names: Iterable[str]) -> list[Job]:
    """The jobs of these names, and all jobs that they need, in order."""
    wanted = set(names)
    for job in reversed(jobs):
        if job.name in wanted:
            wanted |= set(job.needs)
    return [job for job in jobs if job.name in wanted]


def states(jobs: list[Job], inputs: Inputs) -> dict[str, str]:
    """The state of every job; see `records.state`."""
    found: dict[str, str] = {}
    for job in jobs:
        found[job.name] = "waiting"
        if all(found.get(need) == "done" for need in job.needs):
            with suppress(PruneError):
                found[job.name] = records.state(job, records.job_key(job.command, inputs(job)))
    return found


def explained(job: Job, error: PruneError) -> str:
    """Why a job failed. Where an option mends it, that says how a recipe gives one.

    The job's error speaks of the options of its command, which `run` does not have.
    """
    message = str(error)
    flags = FLAG.findall(QUOTED.sub("", with_mend(message)[1] or ""))
    if set(flags) <= RESERVED:  # which `run` has, or sets
        return message
    return f"{message} (options are keys of step {job.step!r} in the recipe)"


class Watcher:
    """Follows the progress of a study. This one is silent; the command line draws."""

    def starts(self, job: Job) -> Progress:
        """Note that a job has started; returns the receiver of its progress."""
        return Progress()

    def ends(self, job: Job, how: str, note: str = "") -> None:
        """Note that a job 'ran', was 'done' before, was 'taken' from a folder, or 'failed'.

        It may be 'left' undone, too, since it needs one that failed. `note` names the folder, or
        the reason.
        """


@dataclass
class Study:
    """Jobs, each after those that it needs, and their states."""

    jobs: list[Job]
    engine: Engine
    inputs: Inputs
    shelf: records.Shelf
    watcher: Watcher
    keep_going: bool = False
    keys: dict[str, str] = field(default_factory=dict)
    waiting: list[Job] = field(default_factory=list)
    running: dict[Future[Wrote], Job] = field(default_factory=dict)
    holds: dict[str, ExitStack] = field(default_factory=dict)
    """The hold on the folder of each job that is running, so that others see it."""
    made: dict[Path, str] = field(default_factory=dict)
    """The hash of each output that is done, as its record says."""
    failed: dict[str, str] = field(default_factory=dict)
    left: set[str] = field(default_factory=set)
    ran: int = 0

    def __post_init__(self) -> None:
        self.named = {job.name: job for job in self.jobs}
        self.order = {job.name: number for number, job in enumerate(self.jobs)}

    def _number(self, job: Job) -> int:
        return self.order[job.name]

    def run(self) -> int:
        """Run the jobs that are not done; returns how many ran.

        Raises JobsFailed after the first failure, once what was running is over; with `keep_going`
        after all jobs that do not need a failed one.
        """
        sorter = TopologicalSorter({job.name: job.needs for job in self.jobs})
        sorter.prepare()
        with ExitStack() as closing, self.engine:
            closing.callback(self._let_go, *self.jobs)
            while sorter.is_active() and not self._stops():
                while ready := sorter.get_ready():
                    sorter.done(*(job.name for job in self._settled(ready)))
                # What is over at once may make others ready: only wait if there is no such job.
                over = list(self._started()) or list(self._ended())
                sorter.done(*(job.name for job in over))
            while self.running:
                list(self._ended())
        self._raise_failures()
        self._check_outputs()
        return self.ran

    def _stops(self) -> bool:
        return bool(self.failed) and not self.keep_going

    def _raise_failures(self) -> None:
        if not self.failed:
            return
        name, error = next(iter(self.failed.items()))
        if not self.keep_going:
            raise JobsFailed(f"job {name} failed: {error}")
        left = f", and {len(self.left)} more did not run" if self.left else ""
        raise JobsFailed(
            f"{len(self.failed)} of {len(self.jobs)} jobs failed{left}. The first, {name}: {error}"
        )

    def _check_outputs(self) -> None:
        """Raise JobsFailed if finished outputs were changed while the study ran."""
        changed = [job.name for job in self.jobs if not records.is_intact(job)]
        if changed:
            raise JobsFailed(
                f"the outputs of {some(changed)} were changed while the study ran; "
                "run it again to remake them"
            )

    def _due(self, job: Job) -> Job:
        """The job with its current dependencies. Raises PruneError if they cannot be determined."""
        for path in job.reads:
            if file_sha256(path) != self.made.get(path):
                what = f"{printable(str(path))}: it was changed after it was made"
                raise BadInput(f"{what}; run the study again to remake it")
        return replace(job, given=self.inputs(job))

    def _settled(self, names: Iterable[str]) -> Iterator[Job]:
        """The jobs, of those that are due, that need no work."""
        for job in sorted((self.named[name] for name in names), key=self._number):
            if any(need in self.failed or need in self.left for need in job.needs):
                self.left.add(job.name)
                self.watcher.ends(job, "left", "needs a failed job")
                yield job
                continue
            try:
                job = self._due(job)
                key = self.keys[job.name] = records.job_key(job.command, job.given)
                if records.is_done(job, key):
                    self._is_done(job, "done")
                    yield job
                else:
                    self.waiting.append(job)
            except PruneError as error:
                self._fails(job, error)
                yield job

    def _started(self) -> Iterator[Job]:
        """Start as many jobs as there is room for; returns those that have already ended."""
        while len(self.running) < self.engine.slots and not self._stops():
            job = self._next()
            if job is None:
                return
            self.waiting.remove(job)
            key = self.keys[job.name]
            try:
                hold = self.holds[job.name] = ExitStack()
                hold.enter_context(records.occupied(job))
                records.start(job, key)
                if folder := self.shelf.take(job, key):
                    self._is_done(job, "taken", str(folder))
                    yield job
                    continue
                self.running[self.engine.submit(job, self.watcher.starts(job))] = job
            except PruneError as error:
                self._fails(job, error, key)
                yield job

    def _next(self) -> Job | None:
        """The first waiting job in the plan, unless an identical one is running.

        Then it keeps waiting, to copy the output of that one.
        """
        busy = {self.keys[job.name] for job in self.running.values()}
        free = [job for job in self.waiting if self.keys[job.name] not in busy]
        return min(free, key=self._number, default=None)

    def _ended(self) -> Iterator[Job]:
        """Wait for a job to end; returns all that have ended."""
        over = wait(self.running, return_when=FIRST_COMPLETED).done
        for future in sorted(over, key=lambda future: self._number(self.running[future])):
            job = self.running.pop(future)
            try:
                wrote = future.result()
                records.finish(job, self.keys[job.name], wrote or {})
                self.ran += 1
                self._is_done(job, "ran")
            except PruneError as error:
                self._fails(job, error, self.keys[job.name])
            yield job

    def _let_go(self, *jobs: Job) -> None:
        for job in jobs:
            if job.name in self.holds:
                self.holds.pop(job.name).close()

    def _is_done(self, job: Job, how: str, note: str = "") -> None:
        self._let_go(job)
        self.made[job.output] = str(records.read_record(job.folder).sha256)
        self.shelf.put(job, self.keys[job.name])
        self.watcher.ends(job, how, note)

    def _fails(self, job: Job, error: PruneError, key: str | None = None) -> None:
        """Note the failure; with a key, also in the job's record, while its output is held."""
        why = explained(job, error)
        if key is not None:
            records.fail(job, key, why)
        self._let_go(job)
        self.failed[job.name] = why
        self.watcher.ends(job, "failed", why)
