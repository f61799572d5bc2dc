from __future__ import annotations

import os
from pathlib import Path

import click

from prunecli.cli.answers import Verified
from prunecli.cli.base import FILE, command
from prunecli.cli.study.steps import inputs, planned
from prunecli.errors import Mismatch, printable
from prunecli.settings.run import Form
from prunecli.settings.study import VerifySettings

EXAMPLES = """
prunecli verify sparse.safetensors --mask mask.safetensors && echo sound
prunecli verify runs/quickstart/sparse/method=lamp,compression=4,seed=0/ckpt.safetensors \\
    --recipe quickstart
"""


@command("verify", trusts=True, examples=EXAMPLES)
@click.argument("checkpoint", type=FILE)
def verify(checkpoint: Path, settings: VerifySettings, form: Form) -> Verified | None:
    """Check that CHECKPOINT matches its metadata; exit code 0 means that it does.

    Checks that all values are finite, and that no layer has more weights than the metadata says.
    With --mask: that the mask fits every tensor, that every masked weight is exactly zero, and that
    the metadata names this mask. With --recipe: that a job of the study wrote it, and that this job
    and all jobs it needs are up to date in options, inputs, data, versions and hashes.
    """
    from prunecli.steps.verify import verify as step

    facts = step(checkpoint, settings.mask)
    if settings.recipe:
        facts["jobs"] = jobs_behind(checkpoint, settings.recipe, settings)
    if form.json:
        return Verified(verified=True, **facts)
    click.echo(printable(f"checkpoint  {facts['tensors']} tensors, sha256 {facts['checkpoint']}"))
    if facts["mask"]:
        zeros = f"{facts['zeros']:,} weights of {facts['masked']} tensors are zero"
        click.echo(f"mask        {zeros}, sha256 {facts['mask']}")
    if settings.recipe:
        click.echo(printable(f"recipe      {', '.join(facts['jobs'])}: up to date"))
    return None


def jobs_behind(checkpoint: Path, recipe: Path, settings: VerifySettings) -> list[str]:
    """The names of the jobs behind the checkpoint. Raises Mismatch if any is not up to date."""
    from prunecli.recipe.execute import behind, states

    _, folder, jobs = planned(recipe, settings.overrides, settings.study)
    own = [job for job in jobs if os.path.realpath(job.output) == os.path.realpath(checkpoint)]
    label = printable(str(checkpoint))
    if not own:
        raise Mismatch(f"{label}: none of the {len(jobs)} jobs in {folder} writes it")
    needed = behind(jobs, {own[0].name})
    unsound = {name: state for name, state in states(needed, inputs).items() if state != "done"}
    if unsound:
        name, state = next(iter(unsound.items()))
        raise Mismatch(f"{label}: job {name} is not up to date with the recipe ({state})")
    return [job.name for job in needed]
