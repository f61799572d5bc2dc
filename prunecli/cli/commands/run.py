from __future__ import annotations

import json
import os
import shlex
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from prunecli.cli.base import (
    FILE,
    Command,
    examples,
    json_option,
    quiet_option,
    trust_option,
    verbose_option,
)
from prunecli.cli.streams import print_path, print_text
from prunecli.cli.study.steps import inputs, overrides_option, planned
from prunecli.cli.values import Recipe, no_stream
from prunecli.errors import BadUsage, printable, suggest
from prunecli.plugins.trust import trusted

if TYPE_CHECKING:
    from prunecli.recipe.plan import Job

EXAMPLES = """
prunecli run quickstart                          # one that comes with prunecli
prunecli run recipes/quickstart.yaml --set seed=[0,1,2] --dry-run
prunecli run study.yaml --jobs 4                 # each on a GPU, or a quarter of the cores
prunecli run study.yaml --engine ray --threads 2 # on a cluster
prunecli run study.yaml --status                 # how far it is, also while it runs
prunecli run study.yaml --only sparse --output /scratch/study
prunecli run study.yaml --emit sh > study.sh
"""


@click.command("run", cls=Command, epilog=examples(EXAMPLES))
@click.argument("recipe", type=Recipe())
@overrides_option
@click.option("--only", metavar="STEP", help="Do this step and what it needs.")
@click.option("-j", "--jobs", type=click.IntRange(1, 1000), help="Jobs side by side. [default: 1]")
@click.option(
    "--threads",
    type=click.IntRange(1, 1000),
    help="CPU threads of a job. [default: the cores, divided among the jobs]",
)
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Where jobs run: on this machine, or as tasks of a Ray cluster.",
)
@click.option("--keep-going", is_flag=True, help="After a failure, do all that does not need it.")
@click.option(
    "-o", "--output", type=FILE, callback=no_stream, help="The study's folder. [default: runs/NAME]"
)
@click.option("--wait", is_flag=True, help="Wait for another process that runs the study.")
@click.option("--status", is_flag=True, help="Print what is done and what is not, do nothing.")
@click.option("--dry-run", is_flag=True, help="Print every job's command, do nothing.")
@click.option("--emit", type=click.Choice(["sh"]), help="Print it as a shell script instead.")
@trust_option
@json_option
@quiet_option
@verbose_option
def run(recipe: Path, **params: Any) -> None:  # fmt: skip
    """Do a whole study from a YAML RECIPE, or one that comes with prunecli, by its name.

    Every job's output and record are below the study's folder. What is done already is not done
    again: an interrupted run goes on where it stopped, and studies below runs/ share what they have
    in common. Prints the outputs that no other job needs.

    The number of threads can change the last bits of a training; --threads fixes it.
    """
    instead = [name for name in ("status", "dry_run", "emit") if params[name]]
    if len(instead) > 1:
        flags = " and ".join(f"--{name.replace('_', '-')}" for name in instead)
        raise BadUsage(f"{flags}: one or the other")
    if params["emit"] and params["json"]:
        raise BadUsage("--emit and --json: one or the other")
    _, folder, jobs = planned(recipe, params["overrides"], params["output"])
    jobs = only(jobs, params["only"]) if params["only"] else jobs
    if params["emit"]:
        text = script(jobs, threads(params))
        if sys.stdout.isatty():
            print_text(text)
        else:
            click.echo(os.fsencode(text), nl=False)  # paths are bytes
    elif params["dry_run"]:
        commands = [shlex.join(["prunecli", job.command, *job.arguments]) for job in jobs]
        as_json = json.dumps({"dry_run": True, "commands": commands})
        print_text((as_json if params["json"] else "\n".join(commands)) + "\n")
    elif params["status"]:
        tell_status(jobs, params)
    else:
        do(jobs, folder, params)


def do(jobs: list[Job], folder: Path, params: Mapping[str, Any]) -> None:
    from prunecli.cli.study.engines import engine
    from prunecli.cli.study.view import watcher
    from prunecli.files.claims import locked
    from prunecli.recipe.execute import Study
    from prunecli.recipe.records import Shelf

    shelf = Shelf(folder, shared=params["output"] is None)
    with locked(folder / "study", printable(str(folder)), params["wait"]):
        place = engine(params["engine"], params["jobs"], threads(params))
        with watcher(jobs, place.slots, params["quiet"], params["verbose"]) as watching:
            study = Study(jobs, place, inputs, shelf, watching, params["keep_going"])
            ran = study.run()
    needed = {need for job in jobs for need in job.needs}
    outputs = [job.output for job in jobs if job.name not in needed]
    if params["json"]:
        click.echo(json.dumps({"outputs": [*map(str, outputs)], "jobs": len(jobs), "ran": ran}))
        return
    for output in outputs:
        print_path(output)


def tell_status(jobs: list[Job], params: Mapping[str, Any]) -> None:
    from prunecli.recipe.execute import states

    found = states(jobs, inputs)
    if params["json"]:
        click.echo(json.dumps({"jobs": found}))
        return
    for name, state in found.items():
        kind = state.partition(":")[0]
        if params["verbose"] or kind in ("running", "stopped", "failed"):
            click.echo(printable(f"{name}: {state}"))
    counts = Counter(state.partition(":")[0] for state in found.values())
    click.echo(f"{len(jobs)} jobs: {', '.join(f'{n} {kind}' for kind, n in counts.items())}")


def threads(params: Mapping[str, Any]) -> int | None:
    """CPU threads of a job; None for as many as torch takes."""
    from prunecli.runtime.machine import cores

    if params["threads"] or (params["jobs"] or 1) == 1:
        given: int | None = params["threads"]
        return given
    return max(1, cores() // int(params["jobs"]))


def script(jobs: list[Job], threads: int | None) -> str:
    """A shell script that leaves the very same outputs as a run."""
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
