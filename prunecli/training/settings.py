"""How to train: the numbers, and what they build."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch.optim import lr_scheduler


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
