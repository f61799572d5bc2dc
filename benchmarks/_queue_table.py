"""The queue of GPU studies: what each is about, how far it is, and what it takes."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from prunecli.cli.study.steps import planned
from prunecli.recipe.execute import behind
from prunecli.recipe.plan import Job

PER_JOB = 3
"""Seconds that a job takes besides its training: a mask, an evaluation, files. A guess."""
TO_START = 60
"""Seconds of a run before its first job: processes, unpacking, decoding. A guess."""
MINUTES = 8
"""Of a run."""


@dataclass(frozen=True)
class Entry:
    """A study of the queue: `report` of a recipe and all that it needs, with some values set."""

    name: str
    what: str
    folder: str
    recipe: str
    set: Mapping[str, Any]
    report: str
    data: str
    images: Mapping[str, int]
    """How many the data set has, by split."""
    rate: float
    """Images per second that are expected in training."""
    jobs: Sequence[Job]
    """In order, the report last; none while the recipe is not there."""

    @property
    def wanted(self) -> list[str]:
        """The jobs whose results the report gathers, those of the first seed first."""
        names = self.jobs[-1].needs if self.jobs else ()
        seeds = {name: re.findall(r"\bseed=([^,]+)", name) for name in names}
        order = list(seeds.values())
        return sorted(names, key=lambda name: order.index(seeds[name]))

    def place(self, name: str) -> Path:
        """Where the result of a job is kept, below the folder of all results."""
        return Path(self.folder, "results", f"{name}.json")

    def missing(self, results: Path) -> list[str]:
        return [name for name in self.wanted if not (results / self.place(name)).exists()]

    def in_turn(self, names: Sequence[str]) -> list[Job]:
        """The jobs behind some results, each result's before those of the next."""
        jobs = {job.name: job for name in names for job in behind([*self.jobs], [name])}
        return list(jobs.values())

    def seconds(self, jobs: Sequence[Job]) -> float:
        """How long these are expected to take, one after the other."""
        epochs = sum(int(_value(job, "--epochs")) for job in jobs if "--epochs" in job.arguments)
        return epochs * self.images["train"] / self.rate + PER_JOB * len(jobs)

    @property
    def command(self) -> str:
        """What does all of it, where there is time."""
        given = [part for key, value in self.set.items() for part in ("--set", f"{key}={value}")]
        return shlex.join(["prunecli", "run", self.recipe, *given, "--only", self.report])


def _value(job: Job, option: str) -> str:
    return job.arguments[job.arguments.index(option) + 1]


def read_queue(table: Path, runs: Path, names: Sequence[str] = ()) -> list[Entry]:
    """The studies of a table, all or those named, planned below `runs`.

    Paths of recipes start from the folder above the table's.

    Raises SystemExit for a name that is not there, BadUsage where a recipe is at fault.
    """
    told = yaml.safe_load(table.read_text())
    if unknown := sorted(set(names) - told["studies"].keys()):
        known = ", ".join(told["studies"])
        raise SystemExit(f"there is no study {unknown[0]!r}; there are {known}")
    entries = []
    for name in [name for name in told["studies"] if name in names or not names]:
        facts = told["studies"][name]
        recipe, jobs = table.parent.parent / facts["recipe"], []
        if recipe.exists():
            values = {key: str(value) for key, value in facts["set"].items()}
            _, _, every = planned(recipe, values, runs / facts["folder"])
            [report] = [job.name for job in every if job.step == facts["report"]]
            jobs = behind(every, [report])
        images = told["data"][facts["data"]]
        entries.append(Entry(name, jobs=jobs, images=images, **facts))
    return entries


def status(entry: Entry, results: Path) -> str:
    """How much of it is done, and when that was."""
    if not entry.jobs:
        return f"waits for {entry.recipe}"
    done = {str(entry.place(name)) for name in {*entry.wanted} - {*entry.missing(results)}}
    told = [json.loads(p.read_text()) for p in (results / entry.folder / "runs").glob("*.json")]
    dates = [run["date"][:10] for run in told if done & set(run["results"])]
    return f"{len(done)} of {len(entry.wanted)} results" + (f", {max(dates)}" if dates else "")


def cost(entry: Entry) -> str:
    """How long it is expected to take from its beginning, and in how many runs."""
    runs, left, past = 0, 0.0, 0
    ends = [len(entry.in_turn(entry.wanted[: at + 1])) for at in range(len(entry.wanted))]
    jobs = entry.in_turn(entry.wanted)
    for end in ends:
        own, past = entry.seconds(jobs[past:end]), end
        if own > left:
            runs, left = runs + 1, 60.0 * MINUTES - TO_START
        left -= own
    plural = "s" * (runs != 1)
    return f"{entry.seconds(jobs) / 60:.0f} minutes, {runs} run{plural} of {MINUTES}"


MARK = """<!-- The rest is made by `gpu_queue.py collect`; a test checks that it is up to date. -->
"""
ENTRY = """
### {number}. `{name}`: {status}

{what}.
{facts}
"""


def page(before: str, entries: Sequence[Entry], results: Path) -> str:
    """The document about the queue, with what the one before has above the mark."""
    parts = [before.partition(MARK)[0], MARK]
    for number, entry in enumerate(entries, 1):
        facts = f"Data: `{entry.data}`. Results: `docs/results/{entry.folder}`."
        if entry.jobs:
            facts = f"{cost(entry)}, at {entry.rate:,} images/s. {facts}\n\n    {entry.command}"
        own = {"number": number, "name": entry.name, "status": status(entry, results)}
        parts.append(ENTRY.format(**own, what=entry.what, facts=facts))
    return "".join(parts)
