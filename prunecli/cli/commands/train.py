from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from prunecli.cli.base import (
    FILE,
    MODEL_PLUGIN,
    PRUNER_PLUGIN,
    SOURCE_PLUGIN,
    Command,
    common_options,
    examples,
)
from prunecli.cli.commands._training import train_from, training_options, training_reads

EXAMPLES = """
prunecli train --model cnn --dataset digits --epochs 20 -o dense.safetensors
prunecli train --model resnet20 --dataset cifar10 --data-dir ~/data --download
prunecli train --model vgg16 --dataset cifar10 --epochs 0     # the initialisation
prunecli train --model resnet20 --dataset cifar10 --resume       # after a Ctrl-C
prunecli train --model resnet20 --dataset cifar10 --pruner rigl --opt density=0.1
prunecli train --model wrn --dataset cifar100 --thin 0.15        # the dense equivalent of 15%
prunecli train --model torchvision:alexnet --pretrained --dataset folder --data-dir imagenet
"""


@click.command(
    "train",
    cls=Command,
    product="ckpt.safetensors",
    reads=training_reads,
    plugins={**MODEL_PLUGIN, **PRUNER_PLUGIN, **SOURCE_PLUGIN},
    epilog=examples(EXAMPLES),
)
@click.argument("checkpoint", type=FILE, required=False, metavar="[CHECKPOINT]")
@training_options
@common_options
def train(checkpoint: Path | None, **params: Any) -> None:
    """Train a network, from its initialisation or from CHECKPOINT.

    What is not given is taken from CHECKPOINT: model, data set and training settings. The training
    state is kept beside the output: --resume goes on where a run stopped, to the very same bytes.
    """
    train_from(checkpoint, params)
