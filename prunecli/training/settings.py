"""How to train: the numbers, and what they build."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

import torch
from torch.optim import lr_scheduler

from prunecli.errors import BadInput
from prunecli.files.parsing import is_a


@dataclass(frozen=True)
class Settings:
    """How to train. These travel in the checkpoint, so that finetuning can take them over."""

    epochs: int = 10
    batch_size: int = 128
    lr: float = 0.05
    optimizer: str = "sgd"
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    schedule: str = "cosine"
    lr_every: int = 30
    lr_gamma: float = 0.1
    precision: str = "auto"
    compile: bool = False
    """Whether torch.compile is to make one kernel of what can be one."""

    def check(self) -> None:
        """Raise BadInput for what cannot be, as a damaged checkpoint may say."""
        for each in fields(self):
            value, form = getattr(self, each.name), type(each.default)
            if not is_a(form, value):
                raise BadInput(f"{each.name} of {value!r} is no setting of a training")
        least = {
            "epochs": 0,
            "batch_size": 1,
            "lr_every": 1,
            "lr": 0,
            "weight_decay": 0,
            "momentum": 0,
        }
        for name, low in least.items():
            if not low <= getattr(self, name) < math.inf:
                raise BadInput(f"{name} of {getattr(self, name)} is no setting of a training")
        for name, known in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES)):
            if getattr(self, name) not in known:
                raise BadInput(f"there is no {name} {getattr(self, name)!r}")


Groups: TypeAlias = list[dict[str, Any]]
OPTIMIZERS: dict[str, Callable[[Groups, Settings], torch.optim.Optimizer]] = {
    "sgd": lambda p, s: torch.optim.SGD(
        p,
        s.lr,
        momentum=s.momentum,
        nesterov=s.nesterov and s.momentum > 0,
        weight_decay=s.weight_decay,
        fused=True,
    ),
    "adam": lambda p, s: torch.optim.Adam(
        p, s.lr, betas=(s.momentum, 0.999), weight_decay=s.weight_decay, fused=True
    ),
    "adamw": lambda p, s: torch.optim.AdamW(
        p, s.lr, betas=(s.momentum, 0.999), weight_decay=s.weight_decay, fused=True
    ),
}
"""Momentum is Adam's beta1."""

LrSchedule = Callable[[torch.optim.Optimizer, Settings, int], lr_scheduler.LRScheduler]
SCHEDULES: dict[str, LrSchedule] = {
    "constant": lambda o, s, n: lr_scheduler.ConstantLR(o, factor=1.0),
    "cosine": lambda o, s, n: lr_scheduler.CosineAnnealingLR(o, max(1, s.epochs * n)),
    "step": lambda o, s, n: lr_scheduler.StepLR(o, s.lr_every * n, s.lr_gamma),
    "restarts": lambda o, s, n: lr_scheduler.CosineAnnealingWarmRestarts(o, s.lr_every * n),
    "onecycle": lambda o, s, n: lr_scheduler.OneCycleLR(
        o,
        [group["lr"] for group in o.param_groups],
        total_steps=s.epochs * n + 1,
        cycle_momentum=False,
    ),
}
"""From an optimizer, the settings and the steps per epoch; stepped after every step."""
