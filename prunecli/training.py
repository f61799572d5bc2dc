"""Train and evaluate: a loop that reads top to bottom.

The loop never waits for the device within an epoch. Whatever decides the next step (weights,
optimizer, schedule, random numbers, position, pruner) is in `TrainingState`, so a run that stops
anywhere goes on to the very same bytes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.optim import lr_scheduler

from prunecli.batches import ImageBatches, derive_seed
from prunecli.device import autocast
from prunecli.errors import NotFinite
from prunecli.masks import aligned, apply_, prunable
from prunecli.types import Clock, Mask, Params, Progress, Pruner

EVAL_BATCH = 500


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


OPTIMIZERS: dict[str, Callable[[list[nn.Parameter], Settings], torch.optim.Optimizer]] = {
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
        o, s.lr, total_steps=s.epochs * n + 1, cycle_momentum=False
    ),
}
"""From an optimizer, the settings and the steps per epoch; stepped after every step."""


@dataclass
class TrainingState:
    """Everything that decides the next step."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: lr_scheduler.LRScheduler
    pruner: Pruner
    step: int = 0
    """Optimizer steps done."""
    history: list[dict[str, Any]] = field(default_factory=list)
    loss_sum: Tensor | None = None
    """Sum of the losses of the steps done in the epoch under way."""

    @cached_property
    def params(self) -> Params:
        return prunable(self.model)

    def tensors(self) -> dict[str, Tensor]:
        """The tensors to write; `restore` takes them back."""
        tensors = {f"model/{name}": t for name, t in self.model.state_dict().items()}
        for place, name, value in self._optimizer_values():
            tensors[f"optimizer/{place}/{name}"] = value
        tensors |= {f"pruner/{name}": t for name, t in self.pruner.state_dict().items()}
        tensors["random/cpu"] = torch.get_rng_state()
        if torch.cuda.is_available():
            tensors["random/cuda"] = torch.cuda.get_rng_state()
        if self.loss_sum is not None:
            tensors["loss_sum"] = self.loss_sum
        return tensors

    def facts(self) -> dict[str, Any]:
        """The rest, as JSON."""
        groups = self.optimizer.state_dict()["param_groups"]
        return {
            "step": self.step,
            "history": self.history,
            "scheduler": {
                name: value
                for name, value in self.scheduler.state_dict().items()
                if isinstance(value, int | float | list)
            },
            "groups": [{k: v for k, v in g.items() if k != "params"} for g in groups],
        }

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        self.step, self.history = facts["step"], list(facts["history"])
        self.model.load_state_dict(_part(tensors, "model/"))
        self.scheduler.load_state_dict(dict(facts["scheduler"]))
        for group, saved in zip(self.optimizer.param_groups, facts["groups"], strict=True):
            group.update(saved)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        for key, value in _part(tensors, "optimizer/").items():
            place, _, name = key.partition("/")
            parameter = parameters[int(place)]
            # In the parameter's own memory format: fused kernels walk both side by side.
            same = value.shape == parameter.shape
            buffer = torch.empty_like(parameter if same else value)
            self.optimizer.state[parameter][name] = buffer.copy_(value)
        self.pruner.load_state_dict(_part(tensors, "pruner/"))
        torch.set_rng_state(tensors["random/cpu"])
        if "random/cuda" in tensors and torch.cuda.is_available():
            torch.cuda.set_rng_state(tensors["random/cuda"])
        if "loss_sum" in tensors:
            self.loss_sum = tensors["loss_sum"].to(next(self.model.parameters()).device)

    def _optimizer_values(self) -> Iterator[tuple[int, str, Tensor]]:
        for place, values in self.optimizer.state_dict()["state"].items():
            for name, value in values.items():
                if value is not None:
                    yield place, name, value


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): tensors[n] for n in tensors if n.startswith(prefix)}


def new_state(
    model: nn.Module, settings: Settings, pruner: Pruner, steps_per_epoch: int
) -> TrainingState:
    parameters = [*model.parameters(), *pruner.parameters()]
    optimizer = OPTIMIZERS[settings.optimizer](parameters, settings)
    scheduler = SCHEDULES[settings.schedule](optimizer, settings, steps_per_epoch)
    return TrainingState(model, optimizer, scheduler, pruner)


def train(
    state: TrainingState,
    data: ImageBatches,
    settings: Settings,
    seed: int,
    device: torch.device,
    *,
    test: ImageBatches | None = None,
    save: Callable[[], None] = lambda: None,
    interrupted: Callable[[], bool] = lambda: False,
    progress: Progress | None = None,
) -> None:
    """Train to the end of `settings.epochs`, from wherever `state` is.

    `save` is called with the state complete at the end of every epoch, and when `interrupted`
    turns true; then KeyboardInterrupt is raised. With `test`, every epoch is evaluated on it.

    Raises NotFinite naming the first epoch and step whose loss was not finite; the state saved last
    is the one before.
    """
    progress = progress or Progress()
    steps = len(data)
    masker = _Masker(state)
    masker(Clock(max(1, state.step), steps, settings.epochs))
    while state.step < settings.epochs * steps:
        epoch, start = divmod(state.step, steps)
        state.model.train()
        resumed = state.loss_sum
        loss_sum = torch.zeros((), device=device) if resumed is None else resumed
        first_bad = torch.zeros((), dtype=torch.long, device=device)
        began = time.monotonic()
        for inputs, labels in data.epoch(derive_seed(seed, "epoch", epoch), start):
            clock = Clock(state.step + 1, steps, settings.epochs)
            loss = _step(state, inputs, labels, settings, device, clock)
            masker(clock)
            state.step += 1
            loss_sum += loss
            first_bad += (first_bad == 0) * ~torch.isfinite(loss) * state.step
            if interrupted():
                _check_finite(first_bad, steps)
                state.loss_sum = None if clock.epoch_ends else loss_sum
                if not clock.epoch_ends:
                    save()
                    raise KeyboardInterrupt
            label = f"epoch {epoch + 1}/{settings.epochs}"
            progress.advance(label, clock.step - epoch * steps, steps)
        _check_finite(first_bad, steps)
        state.loss_sum = None
        row = {"epoch": epoch + 1, "loss": loss_sum.item() / steps, "lr": _lr(state)}
        if test is not None:
            result = evaluate(state.model, test, settings.precision, device)
            row |= {"top1": result["top1"], "test_loss": result["loss"]}
        state.history.append(row)
        save()
        progress.say(_line(row, time.monotonic() - began))
        if interrupted():
            raise KeyboardInterrupt


def _step(
    state: TrainingState,
    inputs: Tensor,
    labels: Tensor,
    settings: Settings,
    device: torch.device,
    clock: Clock,
) -> Tensor:
    params = state.params
    weights = state.pruner.weights(params, clock)
    with autocast(settings.precision, device):
        if weights is params:
            logits = state.model(inputs)
        else:
            logits = functional_call(state.model, weights, (inputs,))
        loss = F.cross_entropy(logits, labels)
    penalty = state.pruner.penalty(params, clock)
    total = loss if penalty is None else loss + penalty
    total.backward()  # type: ignore[no-untyped-call]
    state.pruner.observe(params, clock)
    state.optimizer.step()
    state.optimizer.zero_grad()
    state.scheduler.step()
    return total.detach()


class _Masker:
    """Zeroes what the pruner's mask excludes; a mask goes to the device only when it is new."""

    def __init__(self, state: TrainingState) -> None:
        self.pruner, self.params = state.pruner, state.params
        self.seen: Mask = {}
        self.ready: Mask = {}

    def __call__(self, clock: Clock) -> None:
        mask = self.pruner.mask(self.params, clock)
        if mask is not self.seen:
            self.seen, self.ready = mask, aligned(mask, self.params)
        apply_(self.params, self.ready)


def _check_finite(first_bad: Tensor, steps: int) -> None:
    if step := int(first_bad):
        raise NotFinite(
            f"the loss is not finite in epoch {(step - 1) // steps + 1}, step "
            f"{(step - 1) % steps + 1}; lower --lr, or use --precision fp32"
        )


def _lr(state: TrainingState) -> float:
    return float(state.scheduler.get_last_lr()[0])


def _line(row: Mapping[str, Any], seconds: float) -> str:
    test = f", test top-1 {row['top1']:.2f}%" if "top1" in row else ""
    return f"epoch {row['epoch']}: loss {row['loss']:.4f}{test} ({seconds:.1f} s)"


@torch.no_grad()
def evaluate(
    model: nn.Module, data: ImageBatches, precision: str, device: torch.device
) -> dict[str, float]:
    """Top-1 and top-5 accuracy in percent and mean cross-entropy, over every image once.

    Counts are divided by the number of images, so a smaller last batch weighs what it should.
    Raises NotFinite if the model's outputs are not finite.
    """
    model.eval()
    hits = torch.zeros(2, dtype=torch.long, device=device)
    loss_sum = torch.zeros((), dtype=torch.float64, device=device)
    for inputs, labels in data.plain():
        with autocast(precision, device):
            logits = model(inputs)
        logits = logits.float()
        loss_sum += F.cross_entropy(logits, labels, reduction="sum")
        ranked = logits.topk(min(5, logits.shape[1])).indices == labels[:, None]
        hits += torch.stack([ranked[:, 0].sum(), ranked.sum()])
    count = len(data.labels)
    loss = loss_sum.item() / count
    if not torch.isfinite(loss_sum):
        raise NotFinite("the model's outputs are not finite; check its weights with 'inspect'")
    top1, top5 = (100 * int(n) / count for n in hits)
    return {"top1": top1, "top5": top5, "loss": loss}
