"""Where the jobs of a study are done, as its options say."""

from __future__ import annotations

import sys

from prunecli.cli._steps import invoke
from prunecli.device import gpus
from prunecli.recipe.engine import Engine, Here
from prunecli.recipe.on_ray import OnRay
from prunecli.recipe.plan import Job
from prunecli.recipe.workers import Workers
from prunecli.types import Progress

WORKER = [sys.executable, "-m", "prunecli.cli._worker"]


def engine(kind: str, jobs: int | None, threads: int | None) -> Engine:
    """One job at a time is done here; several are done in processes, each with a GPU of its own.

    With more jobs than GPUs, they share them. Raises BadEnvironment for Ray that is not there.
    """
    if kind == "ray":
        return OnRay(do, threads or 1, jobs)
    if jobs is not None and jobs > 1:
        return Workers(WORKER, jobs, lambda slot: surroundings(slot, threads, gpus()))
    return Here(do, threads)


def do(job: Job, progress: Progress) -> None:
    invoke(job.command, job.arguments, progress)


def surroundings(slot: int, threads: int | None, devices: list[str]) -> dict[str, str]:
    """The environment of the worker in a slot."""
    own = {"OMP_NUM_THREADS": str(threads)} if threads else {}
    return own | ({"CUDA_VISIBLE_DEVICES": devices[slot % len(devices)]} if devices else {})
