"""Jobs as Ray tasks: on the machines of a cluster that share a file system, or on this one."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from prunecli.errors import BadEnvironment, PruneError
from prunecli.recipe.engine import Do
from prunecli.recipe.plan import Job
from prunecli.recipe.records import Wrote
from prunecli.runtime.progress import Progress

RETRIES = 3
"""How often a task is started again if its worker dies."""
PATIENCE = 60.0
"""Seconds that interrupted tasks have to save their state."""


class OnRay:
    """An engine of Ray tasks, each with so many CPUs, and a GPU where the cluster has any.

    More tasks at once than there are GPUs share them.

    The cluster is the one that `RAY_ADDRESS` names or that runs here, else one is started here for
    as long as the study takes. Raises BadEnvironment without Ray.
    """

    def __init__(self, do: Do, threads: int, slots: int | None) -> None:
        try:
            ray: Any = import_module("ray")
        except ImportError:
            raise BadEnvironment("--engine ray needs Ray: pip install 'prunecli[ray]'") from None
        self.ray = ray
        try:
            if not ray.is_initialized():
                ray.init(log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise BadEnvironment(f"--engine ray: {error}") from None
        has = ray.cluster_resources()
        devices = int(has.get("GPU", 0))
        self.slots = slots or max(1, devices or int(has.get("CPU", 1)) // threads)
        self.tasks: dict[Future[Wrote], Any] = {}
        options = {
            "num_cpus": threads,
            "num_gpus": _share(self.slots, devices),
            "max_retries": RETRIES,
        }
        self.task = ray.remote(**options)(_task)
        self.shared = (do, threads, Path.cwd(), _settings())

    def submit(self, job: Job, progress: Progress) -> Future[Wrote]:
        future: Future[Wrote] = Future()
        # Machines of a cluster may choose other devices and see other numbers of the same file.
        task = self.tasks[future] = self.task.remote(replace(job, given=None), *self.shared)
        task.future().add_done_callback(partial(_settle, future))
        future.add_done_callback(lambda over: self.tasks.pop(over))
        return future

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            under_way = list(self.tasks.values())
            for task in under_way:
                self.ray.cancel(task)
            if under_way:
                self.ray.wait(under_way, num_returns=len(under_way), timeout=PATIENCE)
        finally:
            self.ray.shutdown()


def _share(slots: int, devices: int) -> float:
    """The fraction of a GPU for each of so many parallel tasks: all, a half, a third, and so on."""
    return 1 / max(1, -(-slots // devices)) if devices else 0


def _settings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("PRUNECLI_")}


def _task(
    job: Job, do: Do, threads: int, here: Path, settings: Mapping[str, str]
) -> str | list[str]:
    """Run a job in a Ray worker; returns the names of the files it wrote, or why it failed."""
    from prunecli.runtime.device import set_threads

    os.environ.update(settings)
    os.chdir(here)
    set_threads(threads)
    try:
        return list(do(job, Progress()))
    except PruneError as error:
        return str(error)


def _settle(future: Future[Wrote], over: Future[str | list[str]]) -> None:
    """Pass the end of a task on to the job's future."""
    try:
        ended = over.result()
    except Exception as failure:  # Ray's own, or a bug
        ended = f"{type(failure).__name__}: {failure}".splitlines()[0]
    if isinstance(ended, str):
        future.set_exception(PruneError(ended))
    else:
        future.set_result(dict.fromkeys(ended))
