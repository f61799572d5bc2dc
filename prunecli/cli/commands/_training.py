"""The options that `train` and `finetune` share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from prunecli.cli.base import (
    FILE,
    common,
    device_option,
    done,
    key_values,
    seed_option,
    source,
    source_options,
    stack,
)
from prunecli.cli.values import Named, Number
from prunecli.errors import BadUsage

SETTINGS = (
    "epochs", "batch_size", "lr", "optimizer", "momentum", "nesterov", "weight_decay", "schedule",
    "lr_every", "lr_gamma", "precision", "compile",
)  # fmt: skip
OPTIMIZERS = ("sgd", "adam", "adamw")
LR_SCHEDULES = ("constant", "cosine", "step", "restarts", "onecycle")
MOST = 1_000_000
PRECISIONS = ("auto", "bf16", "fp32")

model_options = stack(
    click.option("--model", type=Named("models"), help="Architecture; else the checkpoint's."),
    key_values("--model-opt", "Option of the model; repeatable."),
    click.option("--thin", type=Number(0, 1), metavar="PART",
                 help="Narrow the layers to so much of their weights: the dense equivalent of a "
                 "density."),
    click.option("--pretrained", is_flag=True,
                 help="Start from published weights; for --model torchvision:NAME."),
    click.option("--strip-prefix", metavar="PREFIX",
                 help="Take what begins so in CHECKPOINT, without it; done unasked where all "
                 "names begin so."),
    click.option("--new-head", is_flag=True,
                 help="Start the last layer anew, for other classes than CHECKPOINT's."),
)  # fmt: skip
settings_options = stack(
    click.option("--mask", type=FILE, help="Keep the weights this mask removes at exactly zero."),
    click.option("--pruner", type=Named("pruners"),
                 help="Prune while training; see 'prunecli list pruners'."),
    key_values("--opt", "Option of the pruner; repeatable."),
    click.option("--exclude-classifier", is_flag=True,
                 help="The pruner leaves the last linear layer whole."),
    click.option("--ignore", multiple=True, metavar="PATTERN",
                 help="The pruner leaves weights whose names match whole; repeatable."),
    click.option("--epochs", type=click.IntRange(0, MOST),
                 help="Passes over the data. [default: 10]"),
    click.option("--batch-size", type=click.IntRange(1, MOST), help="[default: 128]"),
    click.option("--lr", type=Number(0), help="Peak learning rate. [default: 0.05]"),
    click.option("--optimizer", type=click.Choice(OPTIMIZERS), help="[default: sgd]"),
    click.option("--momentum", type=Number(0, 1, "[)"),
                 help="Of SGD; Adam's beta1. [default: 0.9]"),
    click.option("--nesterov/--no-nesterov", default=None, help="[default: nesterov]"),
    click.option("--weight-decay", type=Number(0, ends="[]"), help="[default: 0.0005]"),
    click.option("--schedule", type=click.Choice(LR_SCHEDULES),
                 help="Of the learning rate. [default: cosine]"),
    click.option("--lr-every", type=click.IntRange(1, MOST),
                 help="Epochs between steps or restarts. [default: 30]"),
    click.option("--lr-gamma", type=Number(0, 1), help="Factor of each step. [default: 0.1]"),
    click.option("--precision", type=click.Choice(PRECISIONS), envvar="PRUNECLI_PRECISION",
                 help="auto: bf16 where the hardware has it. [default: auto]"),
    click.option("--compile/--no-compile", default=None,
                 help="Have torch.compile fuse the network's kernels, which takes a while first. "
                 "[default: no-compile]"),
    click.option("--cuda-graphs/--no-cuda-graphs", default=True, show_default=True,
                 help="On a GPU, replay steps as CUDA graphs; they come to the same bytes."),
    click.option("--eval-epochs/--no-eval-epochs", default=True, show_default=True,
                 help="Evaluate on the test set after every epoch."),
    click.option("--save-every", type=Number(0, ends="[]"), metavar="SECONDS", default=600,
                 show_default=True,
                 help="Between saves of the training state; it is saved after an epoch too, unless "
                 "that took more than a twentieth of the time."),
    click.option("--resume", is_flag=True, help="Go on from the training state beside the output."),
)  # fmt: skip
training_options = stack(
    model_options, source_options, settings_options, seed_option, device_option
)


def training_reads(params: Mapping[str, Any]) -> list[str]:
    return ["train", "test"] if params["eval_epochs"] else ["train"]


def _model_options(params: Mapping[str, Any]) -> dict[str, Any]:
    options = dict(params.get("model_opt") or {})
    if params.get("thin") is not None:
        if "thin" in options:
            raise BadUsage("thin is given twice: by --thin and by --model-opt")
        options["thin"] = params["thin"]
    return options


def train_from(checkpoint: Path | None, params: Mapping[str, Any]) -> None:
    """Do what `train` and `finetune` have in common, which is all but their options."""
    from prunecli.runtime.world import joined
    from prunecli.steps.train import TrainOptions, train

    options = TrainOptions(
        checkpoint=checkpoint,
        mask=params["mask"],
        rewind=params.get("rewind"),
        model=params.get("model"),
        model_options=_model_options(params),
        pretrained=params.get("pretrained", False),
        strip_prefix=params.get("strip_prefix"),
        new_head=params.get("new_head", False),
        source=source(params),
        pruner=params["pruner"],
        pruner_options=params["opt"],
        ignore=params["ignore"],
        exclude_classifier=params["exclude_classifier"],
        settings={name: params[name] for name in SETTINGS if params[name] is not None},
        resume=params["resume"],
        eval_every_epoch=params["eval_epochs"],
        graphs=params["cuda_graphs"],
        save_every=params["save_every"],
    )
    with joined() as world:
        speaks = dict(params) if world.leads else {**params, "quiet": True}
        output = train(options, common(speaks), world)
    if world.leads:
        done(params, output)
