"""The optimizer and the learning-rate schedule, built from hyperparameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch.optim import lr_scheduler

from prunecli.settings.training import Hyperparameters

Groups: TypeAlias = list[dict[str, Any]]
OPTIMIZERS: dict[str, Callable[[Groups, Hyperparameters], torch.optim.Optimizer]] = {
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

LrSchedule = Callable[[torch.optim.Optimizer, Hyperparameters, int], lr_scheduler.LRScheduler]
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
"""Schedules, made from an optimizer, the hyperparameters and the steps per epoch; stepped after
every step."""
