from __future__ import annotations

import click

from prunecli.cli.answers import Written
from prunecli.cli.base import FILE, command
from prunecli.cli.commands.train import carries, train_from
from prunecli.settings.run import Seeded, Talk
from prunecli.settings.train import FinetuneSettings

EXAMPLES = """
prunecli finetune dense.safetensors --mask m.safetensors --epochs 2
prunecli finetune init.safetensors --mask m.safetensors --epochs 10 # pruned before training
prunecli finetune dense.safetensors --mask m.safetensors --rewind init.safetensors
prunecli finetune dense.safetensors --pruner weightmom --opt density=0.05 --epochs 60
"""


@command(
    "finetune",
    product="ckpt.safetensors",
    reads=lambda settings: settings.splits,
    check=FinetuneSettings.check,
    carries=carries,
    trusts=True,
    examples=EXAMPLES,
)
@click.argument("checkpoint", type=FILE)
def finetune(settings: FinetuneSettings, run: Seeded, talk: Talk) -> Written | None:
    """Continue training CHECKPOINT under a mask, or with a pruner that makes one.

    Masked weights stay exactly zero.

    Settings default to those that CHECKPOINT was trained with.
    """
    return train_from(settings, run, talk)
