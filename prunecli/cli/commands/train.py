from __future__ import annotations

from dataclasses import asdict, replace

import click

from prunecli.cli.answers import Written, written
from prunecli.cli.base import FILE, command, done, told
from prunecli.settings.run import Seeded, Talk
from prunecli.settings.train import TrainingSettings, TrainSettings
from prunecli.settings.training import Carried, completed

EXAMPLES = """
prunecli train --model cnn --dataset digits --epochs 20 -o dense.safetensors
prunecli train --model resnet20 --dataset cifar10 --data-dir ~/data --download
prunecli train --model vgg16 --dataset cifar10 --epochs 0     # the initialisation
prunecli train --model resnet20 --dataset cifar10 --resume       # after a Ctrl-C
prunecli train --model resnet20 --dataset cifar10 --pruner rigl --opt density=0.1
prunecli train --model wrn --dataset cifar100 --thin 0.15        # the dense equivalent of 15%
prunecli train --model torchvision:alexnet --weights DEFAULT --dataset folder --data-dir pics
"""


def carries(settings: TrainingSettings, inherited: Carried) -> Carried:
    """The hyperparameters that the output will record, if those of its input are known."""
    if inherited is None and "epochs" not in settings.given:
        return None
    return asdict(completed(settings.given, inherited or {}))


def train_from(settings: TrainingSettings, run: Seeded, talk: Talk) -> Written | None:
    """Run `train` or `finetune`, which differ only in their options."""
    from prunecli.runtime.world import joined
    from prunecli.steps.train import train

    with joined() as world:
        speaks = talk if world.leads else replace(talk, quiet=True)
        output = train(settings, told(run, speaks), world)
    return done(run, talk, output, written) if world.leads else None


def check(settings: TrainSettings) -> None:
    """Raise BadUsage for options that exclude each other, or unknown published weights."""
    from prunecli.steps._pretrained import check_published

    settings.check()
    check_published(settings.model)


@command(
    "train",
    product="ckpt.safetensors",
    reads=lambda settings: settings.splits,
    check=check,
    carries=carries,
    trusts=True,
    examples=EXAMPLES,
)
@click.argument("checkpoint", type=FILE, required=False, metavar="[CHECKPOINT]")
def train(settings: TrainSettings, run: Seeded, talk: Talk) -> Written | None:
    """Train a network from its initialisation, or from CHECKPOINT.

    Model, data set and training settings default to those of CHECKPOINT. The training state is
    saved beside the output: --resume continues a stopped run and gives the same result to the byte.
    """
    return train_from(settings, run, talk)
