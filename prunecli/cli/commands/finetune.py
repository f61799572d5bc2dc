from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from prunecli.cli.base import (
    FILE,
    PRUNER_PLUGIN,
    SOURCE_PLUGIN,
    Command,
    common_options,
    device_option,
    examples,
    seed_option,
    source_options,
)
from prunecli.cli.commands._training import settings_options, train_from, training_reads

EXAMPLES = """
prunecli finetune dense.safetensors --mask m.safetensors --epochs 2
prunecli finetune init.safetensors --mask m.safetensors --epochs 10    # pruned at birth
prunecli finetune dense.safetensors --mask m.safetensors --rewind init.safetensors
prunecli finetune dense.safetensors --pruner weightmom --opt density=0.05 --epochs 60
"""


@click.command(
    "finetune",
    cls=Command,
    product="ckpt.safetensors",
    reads=training_reads,
    plugins={**PRUNER_PLUGIN, **SOURCE_PLUGIN},
    epilog=examples(EXAMPLES),
)
@click.argument("checkpoint", type=FILE)
@click.option("--rewind", type=FILE, metavar="CHECKPOINT", help="Start from these weights instead.")
@source_options
@settings_options
@seed_option
@device_option
@common_options
def finetune(checkpoint: Path, **params: Any) -> None:
    """Train CHECKPOINT on under a mask, or while a pruner makes one.

    Masked weights stay exactly zero.

    Settings that are not given are those CHECKPOINT was trained with.
    """
    train_from(checkpoint, params)
