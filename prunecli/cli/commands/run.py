from __future__ import annotations

import os
import shlex
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from prunecli.cli.answers import Studied
from prunecli.cli.base import command
from prunecli.cli.streams import print_path, print_text
from prunecli.cli.study.steps import inputs, planned
from prunecli.cli.values import Recipe
from prunecli.errors import BadUsage, printable, suggest
from prunecli.plugins.trust import trusted
from prunecli.settings.run import Talk
from prunecli.settings.study import StudySettings

if TYPE_CHECKING:
    from prunecli.recipe.plan import Job

EXAMPLES = """
prunecli run quickstart                          # a recipe that comes with prunecli
prunecli run recipes/quickstart.yaml --set seed=[0,1,2] --dry-run
prunecli run study.yaml --jobs 4                 # each job on a GPU, or a quarter of the cores
prunecli run study.yaml --engine ray --threads 2 # on a cluster
prunecli run study.yaml --status                 # progress, even while it runs
prunecli run study.yaml --only sparse --output /scratch/study
prunecli run study.yaml --emit sh > study.sh
"""


@command("run", trusts=True, examples=EXAMPLES)
@click.argument("recipe", type=Recipe())
def run(recipe: Path, settings: StudySettings, talk: Talk) -> Studied | None:
    """Run a whole study from a RECIPE: a YAML file, or the name of one that comes with prunecli.

    The study's folder holds the output and the record of every job. Finished jobs are not run
    again: an interrupted study resumes where it stopped, and studies in runs/ share jobs that they
    have in common. Prints the outputs that no other job needs.

    The number of threads can change the last bits of a training; fix it with --threads.
    """
    instead = [name for name in ("status", "dry_run", "emit") if getattr(settings, name)]
    if len(instead) > 1:
        flags = " and ".join(f"--{name.replace('_', '-')}" for name in instead)
        raise BadUsage(f"{flags} exclude each other")
    if settings.emit and talk.json:
        raise BadUsage("--emit and --json exclude each other")
    _, folder, jobs = planned(recipe, settings.overrides, settings.output)
    jobs = only(jobs, settings.only) if settings.only else jobs
    if settings.emit:
        text = script(jobs, threads(settings))
        if sys.stdout.isatty():
            print_text(text)
        else:
            click.echo(os.fsencode(text), nl=False)  # paths are bytes
    elif settings.dry_run:
        commands = [shlex.join(["prunecli", job.command, *job.arguments]) for job in jobs]
        if talk.json:
            return answer(jobs, folder, dry_run=True, commands=commands)
        print_text("\n".join(commands) + "\n")
    elif settings.status:
        return tell_status(jobs, folder, talk)
    else:
        return do(jobs, folder, settings, talk)
    return None


def answer(jobs: list[Job], folder: Path, *, dry_run: bool = False, **more: Any) -> Studied:
    """The answer for a study; `more` is what was asked for."""
    outputs = tuple(map(str, results(jobs)))
    return Studied(output=str(folder), dry_run=dry_run, jobs=len(jobs), outputs=outputs, **more)


def results(jobs: list[Job]) -> list[Path]:
    """The outputs that no other job needs."""
    needed = {need for job in jobs for need in job.needs}
    return [job.output for job in jobs if job.name not in needed]


def do(jobs: list[Job], folder: Path, settings: StudySettings, talk: Talk) -> Studied | None:
    from prunecli.cli.study.engines import engine
    from prunecli.cli.study.view import watcher
    from prunecli.files.claims import locked
    from prunecli.recipe.execute import Study
    from prunecli.recipe.records import Shelf

    shelf = Shelf(folder, shared=settings.output is None)
    with locked(folder / "study", printable(str(folder)), settings.wait):
        runs = engine(settings.engine, settings.jobs, threads(settings))
        with watcher(jobs, runs.slots, talk.quiet, talk.verbose) as watching:
            study = Study(jobs, runs, inputs, shelf, watching, settings.keep_going)
            ran = study.run()
    if talk.json:
        return answer(jobs, folder, ran=ran)
    for output in results(jobs):
        print_path(output)
    return None


def tell_status(jobs: list[Job], folder: Path, talk: Talk) -> Studied | None:
    from prunecli.recipe.execute import states

    found = states(jobs, partial(inputs, download=False))
    if talk.json:
        return answer(jobs, folder, states=found)
    for name, state in found.items():
        kind = state.partition(":")[0]
        if talk.verbose or kind in ("running", "stopped", "failed"):
            click.echo(printable(f"{name}: {state}"))
    counts = Counter(state.partition(":")[0] for state in found.values())
    click.echo(f"{len(jobs)} jobs: {', '.join(f'{n} {kind}' for kind, n in counts.items())}")
    return None


def threads(settings: StudySettings) -> int | None:
    """CPU threads per job; None for torch's default."""
    from prunecli.runtime.machine import cores

    jobs = settings.jobs or 1
    return settings.threads or (max(1, cores() // jobs) if jobs > 1 else None)


def script(jobs: list[Job], threads: int | None) -> str:
    """A shell script that writes the same outputs as the study."""
    lines = ["#!/bin/sh", "set -eu"]
    if threads:
        lines.append(f"export OMP_NUM_THREADS={threads}")
    if names := trusted():
        lines.append(f"export PRUNECLI_TRUST={shlex.quote(' '.join(names))}")
    for job in jobs:
        lines.append(shlex.join(["mkdir", "-p", "--", str(job.folder)]))
        lines.append(shlex.join(["prunecli", job.command, "--force", *job.arguments]))
    return "\n".join(lines) + "\n"


def only(jobs: list[Job], step: str) -> list[Job]:
    from prunecli.recipe.execute import behind

    steps = {job.step: job for job in jobs}
    if step not in steps:
        raise BadUsage(f"--only: there is no step {step!r}{suggest(step, list(steps))}")
    return behind(jobs, {job.name for job in jobs if job.step == step})
