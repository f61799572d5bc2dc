from __future__ import annotations

from pathlib import Path

import click

from prunecli.cli.answers import Written, written
from prunecli.cli.base import FILE, command, done, told
from prunecli.settings.apply import ApplySettings
from prunecli.settings.run import RunOptions, Talk

EXAMPLES = """
prunecli apply ckpt.safetensors --mask m.safetensors -o pruned.safetensors
"""


@command(
    "apply",
    product="ckpt.safetensors",
    carries=lambda settings, inherited: inherited,
    folder=lambda params: params["checkpoint"].is_dir() or params["checkpoint"].suffix == ".json",
    examples=EXAMPLES,
)
@click.argument("checkpoint", type=FILE)
def apply(checkpoint: Path, settings: ApplySettings, run: RunOptions, talk: Talk) -> Written | None:
    """Write CHECKPOINT with the weights that a mask removes set to exactly zero."""
    from prunecli.steps.apply import apply as step

    return done(run, talk, step(checkpoint, settings.mask, told(run, talk)), written)
