"""The hyperparameters of a training."""

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
    "Precision of the network's computations; auto takes bf16 if the hardware supports it.",
    OneOf(("auto", "bf16", "fp32")),
    envvar="PRUNECLI_PRECISION",
)


@dataclass(frozen=True)
class Hyperparameters:
    """The hyperparameters of a training.

    The checkpoint records them, so that finetuning can take them over.
    """

    epochs: int = option("Passes over the training set.", Whole(0), 10)
    batch_size: int = option("Images per step.", Whole(1), 128)
    lr: float = option("Peak learning rate.", Real(0), 0.05)
    optimizer: str = option("Optimiser.", OneOf(OPTIMIZERS), "sgd")
    momentum: float = option("Momentum of SGD, or beta1 of Adam.", Real(0, 1, "[)"), 0.9)
    nesterov: bool = option("Use Nesterov momentum in SGD.", Switch(negates=True), True)
    weight_decay: float = option("Weight decay of the optimiser.", Real(0, ends="[]"), 5e-4)
    schedule: str = option("Schedule of the learning rate.", OneOf(LR_SCHEDULES), "cosine")
    lr_every: int = option("Epochs between steps or restarts of the schedule.", Whole(1), 30)
    lr_gamma: float = option("Factor of the learning rate at each step.", Real(0, 1), 0.1)
    precision: str = field_of(PRECISION, "auto")
    compile: bool = option(
        "Compile the network with torch.compile, which takes a while at the start.",
        Switch(negates=True),
    )

    def check(self) -> None:
        """Raise BadInput for impossible values, which a damaged checkpoint can hold."""
        for each in options(Hyperparameters):
            value = getattr(self, each.name)
            if isinstance(each.kind, OneOf) and not each.kind.holds(value):
                raise BadInput(f"there is no {each.name} {value!r}")
            if isinstance(each.kind, Switch | Whole | Real) and not each.kind.holds(value):
                raise BadInput(f"{each.name} cannot be {value!r}")


Carried: TypeAlias = Mapping[str, Any] | None
"""The hyperparameters that a checkpoint records; None where they are unknown."""
OF_THE_MACHINE = ("precision", "compile")
"""The settings that no training takes over from a checkpoint."""


def completed(given: Mapping[str, Any], inherited: Mapping[str, Any]) -> Hyperparameters:
    """The given hyperparameters, else the checkpoint's, else the defaults.

    Precision and compilation depend on the machine, so they are not taken over. Raises BadUsage if
    the checkpoint is untrained and `epochs` is not given.
    """
    known = {f.name for f in fields(Hyperparameters)} - set(OF_THE_MACHINE)
    if inherited.get("epochs") == 0 and "epochs" not in given:
        raise BadUsage("the checkpoint is untrained; set the number of epochs with --epochs")
    own = {name: value for name, value in inherited.items() if name in known}
    settings = Hyperparameters(**{**own, **given})
    settings.check()
    return settings


def taken_over(each: Option) -> str:
    """The default of a hyperparameter, in words."""
    own = each.otherwise
    return own if each.name in OF_THE_MACHINE else f"the checkpoint's, else {own}"
