"""Engines that run jobs: in this process, in worker processes, or on a cluster."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol

from prunecli.recipe.plan import Job
from prunecli.recipe.records import Wrote
from prunecli.runtime.device import set_threads
from prunecli.runtime.progress import Progress

Do = Callable[[Job, Progress], Wrote]
"""Does a job, and says what it wrote. Raises PruneError if it fails."""


class Engine(Protocol):
    """Runs up to `slots` jobs in parallel.

    A job's future ends in what it wrote, or in the PruneError that the job failed with. Leaving the
    context with an error asks the jobs under way to stop, and waits for them to keep what they can.
    """

    slots: int

    def submit(self, job: Job, progress: Progress) -> Future[Wrote]: ...
    def __enter__(self) -> object: ...
    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None: ...


class Here:
    """One job after the other, in this process."""

    slots = 1

    def __init__(self, do: Do, threads: int | None = None) -> None:
        self.do, self.threads = do, threads

    def __enter__(self) -> None:
        self.before = set_threads(self.threads) if self.threads else None

    def __exit__(self, *how: object) -> None:
        if self.before:
            set_threads(self.before)

    def submit(self, job: Job, progress: Progress) -> Future[Wrote]:
        future: Future[Wrote] = Future()
        try:
            future.set_result(self.do(job, progress))
        except Exception as error:
            future.set_exception(error)
        return future
