"""The engine that runs the jobs of a study."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial

from prunecli.cli.study.steps import do
from prunecli.plugins.trust import trust, trusted
from prunecli.recipe.engine import Engine, Here
from prunecli.recipe.on_ray import OnRay
from prunecli.recipe.plan import Job
from prunecli.recipe.records import Wrote
from prunecli.recipe.workers import Workers
from prunecli.runtime.device import gpus
from prunecli.runtime.progress import Progress

START = """
import sys
sys.path[:] = {path!r}
import signal
signal.signal(signal.SIGINT, signal.SIG_DFL)
from prunecli.cli.study.worker import main
main({names!r})
"""
"""A worker imports from where this process does, which need not be the working folder, and a Ctrl-C
ends it without a word while it has no job to keep anything of."""


def engine(kind: str, slots: int | None, threads: int | None) -> Engine:
    """Single jobs run in this process; parallel jobs in worker processes, each with its own GPU.

    With more jobs than GPUs, they share them. Raises BadEnvironment if Ray is missing.
    """
    if kind == "ray":
        return OnRay(partial(trusting, trusted()), threads or 1, slots)
    if slots is not None and slots > 1:
        return Workers(worker(), slots, lambda slot: surroundings(slot, threads, gpus()))
    return Here(do, threads)


def worker() -> list[str]:
    """The command that starts a worker, which trusts what this process does."""
    return [sys.executable, "-c", START.format(path=sys.path, names=trusted())]


def trusting(names: Sequence[str], job: Job, progress: Progress) -> Wrote:
    """Do a job, in a process that trusts `names`."""
    trust(names)
    return do(job, progress)


def surroundings(slot: int, threads: int | None, devices: list[str]) -> dict[str, str]:
    """The environment of the worker in a slot."""
    own = {"OMP_NUM_THREADS": str(threads)} if threads else {}
    return own | ({"CUDA_VISIBLE_DEVICES": devices[slot % len(devices)]} if devices else {})
