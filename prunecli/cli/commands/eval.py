from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from prunecli.cli.base import (
    FILE,
    SOURCE_PLUGIN,
    Command,
    common,
    common_options,
    device_option,
    done,
    examples,
    source,
    source_options,
)
from prunecli.cli.commands._training import PRECISIONS

EXAMPLES = """
prunecli eval sparse.safetensors
prunecli eval dense.safetensors --mask m.safetensors        # as pruned, without finetuning
prunecli eval sparse.safetensors --json | jq .result.top1
"""


@click.command(
    "eval",
    cls=Command,
    product="result.json",
    reads=lambda params: ["test"],
    plugins=SOURCE_PLUGIN,
    epilog=examples(EXAMPLES),
)
@click.argument("checkpoint", type=FILE)
@click.option("--mask", type=FILE, help="Apply this mask before evaluating.")
@source_options
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    help="[default: 500; on a GPU up to 2000, by the size of the images]",
)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="auto",
    envvar="PRUNECLI_PRECISION",
    show_default=True,
)
@click.option("--throughput", is_flag=True, help="Also measure images per second.")
@device_option
@common_options
def evaluate(checkpoint: Path, **params: Any) -> None:
    """Measure what CHECKPOINT can do and what it costs.

    Writes a JSON with top-1, top-5, loss, density, compression asked and reached, FLOPs dense and
    sparse, dead layers and lineage.
    """
    from prunecli.steps.eval import evaluation

    path = evaluation(
        checkpoint,
        params["mask"],
        source(params),
        common(params),
        precision=params["precision"],
        batch_size=params["batch_size"],
        throughput=params["throughput"],
    )
    done(params, path, "result")
