"""The numbers of a training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

from prunecli.errors import BadInput, BadUsage
from prunecli.settings.kinds import OneOf, Real, Switch, Whole
from prunecli.settings.table import Option, field_of, option, options

OPTIMIZERS = ("sgd", "adam", "adamw")
LR_SCHEDULES = ("constant", "cosine", "step", "restarts", "onecycle")
PRECISION = Option(
    "Of the network's computations; auto: bf16 where the hardware has it.",
    OneOf(("auto", "bf16", "fp32")),
    envvar="PRUNECLI_PRECISION",
)


@dataclass(frozen=True)
class Hyperparameters:
    """The settings of a training.

    They travel in the checkpoint, so that finetuning can take them over.
    """

    epochs: int = option("Passes over the data.", Whole(0), 10)
    batch_size: int = option("Images of a step.", Whole(1), 128)
    lr: float = option("Peak learning rate.", Real(0), 0.05)
    optimizer: str = option("What takes the steps.", OneOf(OPTIMIZERS), "sgd")
    momentum: float = option("Of SGD; Adam's beta1.", Real(0, 1, "[)"), 0.9)
    nesterov: bool = option("Whether SGD's momentum looks ahead.", Switch(negates=True), True)
    weight_decay: float = option("Pull of weights towards zero.", Real(0, ends="[]"), 5e-4)
    schedule: str = option("Of the learning rate.", OneOf(LR_SCHEDULES), "cosine")
    lr_every: int = option("Epochs between steps or restarts.", Whole(1), 30)
    lr_gamma: float = option("Factor of each step.", Real(0, 1), 0.1)
    precision: str = field_of(PRECISION, "auto")
    compile: bool = option(
        "Have torch.compile fuse the network's kernels, which takes a while first.",
        Switch(negates=True),
    )

    def check(self) -> None:
        """Raise BadInput for what cannot be, as a damaged checkpoint may say."""
        for each in options(Hyperparameters):
            value = getattr(self, each.name)
            if isinstance(each.kind, OneOf) and not each.kind.holds(value):
                raise BadInput(f"there is no {each.name} {value!r}")
            if isinstance(each.kind, Switch | Whole | Real) and not each.kind.holds(value):
                raise BadInput(f"{each.name} of {value!r} is no setting of a training")


Carried: TypeAlias = Mapping[str, Any] | None
"""The hyperparameters that a checkpoint says; None where they are unknown."""
OF_THE_MACHINE = ("precision", "compile")
"""What no training takes over from a checkpoint."""


def completed(given: Mapping[str, Any], inherited: Mapping[str, Any]) -> Hyperparameters:
    """What was said, else what the checkpoint was trained with, else the defaults.

    Precision and compilation are the machine's business, so they are not taken over. Raises
    BadUsage if the checkpoint is untrained and nobody says for how many epochs to train it.
    """
    known = {f.name for f in fields(Hyperparameters)} - set(OF_THE_MACHINE)
    if inherited.get("epochs") == 0 and "epochs" not in given:
        raise BadUsage("for how many epochs? the checkpoint is untrained; say it with --epochs")
    own = {name: value for name, value in inherited.items() if name in known}
    settings = Hyperparameters(**{**own, **given})
    settings.check()
    return settings


def taken_over(each: Option) -> str:
    """What holds of a hyperparameter that is not given, in words."""
    own = each.otherwise
    return own if each.name in OF_THE_MACHINE else f"the checkpoint's, else {own}"
