from __future__ import annotations

from pathlib import Path

import click

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
def evaluate(checkpoint: Path, settings: EvalSettings, run: OnDevice, talk: Talk) -> None:
    """Measure what CHECKPOINT can do and what it costs.

    Writes a JSON with top-1, top-5, loss, density, compression asked and reached, FLOPs dense and
    sparse, dead layers and lineage.
    """
    from prunecli.steps.eval import evaluation

    done(run, talk, evaluation(checkpoint, settings, told(run, talk)), "result")
