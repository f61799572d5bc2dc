from __future__ import annotations

import io
import json
import shlex
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from prunecli.cli._base import (
    FILE,
    Command,
    examples,
    json_option,
    quiet_option,
    verbose_option,
)
from prunecli.cli._steps import STEPS, check, context, overrides_option
from prunecli.errors import BadUsage, suggest
from prunecli.files.header import printable

if TYPE_CHECKING:
    from prunecli.recipe.plan import Job

EXAMPLES = """
prunecli run quickstart                          # one that comes with prunecli
prunecli run recipes/quickstart.yaml --set seed=[0,1,2] --dry-run
prunecli run study.yaml --only sparse --output /scratch/study
prunecli run study.yaml --emit sh > study.sh
"""


@click.command("run", cls=Command, epilog=examples(EXAMPLES))
@click.argument("recipe", type=FILE)
@overrides_option
@click.option("--only", metavar="STEP", help="Do this step and what it needs.")
@click.option("--keep-going", is_flag=True, help="After a failure, do all that does not need it.")
@click.option("-o", "--output", type=FILE, help="The study's folder. [default: runs/NAME]")
@click.option("--dry-run", is_flag=True, help="Print every job's command, do nothing.")
@click.option("--emit", type=click.Choice(["sh"]), help="Print it as a shell script instead.")
@json_option
@quiet_option
@verbose_option
def run(recipe: Path, **params: Any) -> None:  # fmt: skip
    """Do a whole study from a YAML RECIPE, or one that comes with prunecli, by its name.

    Every job's output and record are below the study's folder. What is done already is not done
    again: an interrupted run goes on where it stopped. Prints the outputs that no other job needs.
    """
    from prunecli.cli._progress import progress
    from prunecli.files.atomic import locked
    from prunecli.recipe.execute import Tools, execute
    from prunecli.recipe.parse import scalar
    from prunecli.recipe.plan import plan
    from prunecli.recipe.read import read_recipe
    from prunecli.recipe.shipped import locate

    overrides = {key: scalar(text) for key, text in params["overrides"].items()}
    study = read_recipe(locate(recipe), overrides, STEPS)
    folder = params["output"] or Path("runs") / study.name
    jobs = plan(study, folder, check)
    jobs = only(jobs, params["only"]) if params["only"] else jobs
    if params["emit"]:
        click.echo(script(jobs), nl=False)
        return
    if params["dry_run"]:
        commands = [shlex.join(["prunecli", job.command, *job.arguments]) for job in jobs]
        as_json = json.dumps({"dry_run": True, "commands": commands})
        click.echo(as_json if params["json"] else "\n".join(commands))
        return
    tools = Tools(lambda job: invoke(job, params["quiet"]), inputs)
    watcher = progress(params["quiet"], params["verbose"])
    with locked(folder / "study", printable(str(folder))):
        ran = execute(jobs, tools, watcher, params["keep_going"])
    needed = {need for job in jobs for need in job.needs}
    outputs = [str(job.output) for job in jobs if job.name not in needed]
    if params["json"]:
        click.echo(json.dumps({"outputs": outputs, "jobs": len(jobs), "ran": ran}))
        return
    for output in outputs:
        click.echo(printable(output))


def script(jobs: list[Job]) -> str:
    """A shell script that leaves the very same outputs as a run."""
    lines = ["#!/bin/sh", "set -eu"]
    for job in jobs:
        lines.append(f"mkdir -p {shlex.quote(str(job.output.parent))}")
        lines.append(shlex.join(["prunecli", job.command, "--force", *job.arguments]))
    return "\n".join(lines) + "\n"


def only(jobs: list[Job], step: str) -> list[Job]:
    steps = {job.step: job for job in jobs}
    if step not in steps:
        raise BadUsage(f"--only: there is no step {step!r}{suggest(step, list(steps))}")
    wanted = {job.name for job in jobs if job.step == step}
    for job in reversed(jobs):
        if job.name in wanted:
            wanted |= set(job.needs)
    return [job for job in jobs if job.name in wanted]


def inputs(job: Job) -> Mapping[str, Any]:
    from prunecli.steps.inputs import dependencies

    params = context(job.command, job.arguments).params
    return dependencies(params, STEPS[job.command].reads(params))


def invoke(job: Job, quiet: bool) -> None:
    """Run a job in this process. The path that it prints is not this command's result."""
    extra = ["--force", *["--resume"] * STEPS[job.command].resumable, *["--quiet"] * quiet]
    with redirect_stdout(io.StringIO()):
        job_context = context(job.command, [*extra, *job.arguments])
        with job_context:
            STEPS[job.command].invoke(job_context)
