from __future__ import annotations

from pathlib import Path

import click

from prunecli.cli.answers import Measured, measured
from prunecli.cli.base import FILE, command, done, told
from prunecli.settings.eval import EvalSettings
from prunecli.settings.run import OnDevice, Talk

EXAMPLES = """
prunecli eval sparse.safetensors
prunecli eval dense.safetensors --mask m.safetensors        # as pruned, without finetuning
prunecli eval sparse.safetensors --json | jq .result.top1
"""


@command(
    "eval",
    product="result.json",
    reads=lambda settings: ["test"],
    check=EvalSettings.check,
    trusts=True,
    examples=EXAMPLES,
)
@click.argument("checkpoint", type=FILE)
def evaluate(
    checkpoint: Path, settings: EvalSettings, run: OnDevice, talk: Talk
) -> Measured | None:
    """Evaluate CHECKPOINT: its accuracy and its cost.

    Writes a JSON file with top-1, top-5 and loss on the test set, density, compression (requested
    and reached), FLOPs (dense and sparse), dead layers (those without weights) and lineage.
    """
    from prunecli.steps.eval import evaluation

    return done(run, talk, evaluation(checkpoint, settings, told(run, talk)), measured)
