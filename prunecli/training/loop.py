"""Train and evaluate: loops that read top to bottom, and never wait for the device in between."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from prunecli.batches import ImageBatches
from prunecli.device import autocast
from prunecli.errors import NotFinite
from prunecli.masks import aligned
from prunecli.seeds import derive_seed
from prunecli.training.settings import Settings
from prunecli.training.state import TrainingState
from prunecli.types import Clock, Mask, Params, Progress

EVAL_BATCH = 500


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
    started = time.monotonic()
    masker(state.clock(settings.epochs))
    while state.step < settings.epochs * steps:
        epoch, start = divmod(state.step, steps)
        state.model.train()
        resumed = state.loss_sum
        loss_sum = torch.zeros((), device=device) if resumed is None else resumed
        first_bad = torch.zeros((), dtype=torch.long, device=device)
        began = time.monotonic()
        for inputs, labels in data.epoch(derive_seed(seed, "epoch", epoch), start):
            clock = Clock(state.step + 1, steps, settings.epochs)
            loss, total = _step(state, inputs, labels, settings, device, clock)
            masker(clock)
            state.pruner.update(state.params, clock)
            masker.if_new(clock)
            state.step += 1
            loss_sum += loss
            first_bad += (first_bad == 0) * ~torch.isfinite(total) * state.step
            if interrupted():
                _check_finite(first_bad, steps)
                state.loss_sum = None if clock.epoch_ends else loss_sum
                if not clock.epoch_ends:
                    save()
                    progress.say(f"stopped after step {state.step}; --resume goes on from there")
                    raise KeyboardInterrupt
            label = f"epoch {epoch + 1}/{settings.epochs}"
            progress.advance(label, clock.step - epoch * steps, steps)
        _check_finite(first_bad, steps)
        state.loss_sum = None
        row = {"epoch": epoch + 1, "loss": loss_sum.item() / steps, "lr": _lr(state)}
        row |= masker.facts() | state.pruner.facts()
        if test is not None:
            with torch.no_grad():
                weights = state.pruner.weights(state.params, clock)
            result = evaluate(state.model, test, settings.precision, device, weights)
            row |= {"top1": result["top1"], "test_loss": result["loss"]}
        state.history.append(row)
        save()
        progress.say(_line(row, time.monotonic() - began))
        if interrupted():
            raise KeyboardInterrupt
    if settings.epochs:
        progress.say(f"trained in {time.monotonic() - started:.1f} s")


def _step(
    state: TrainingState,
    inputs: Tensor,
    labels: Tensor,
    settings: Settings,
    device: torch.device,
    clock: Clock,
) -> tuple[Tensor, Tensor]:
    """Gives the loss of the task, and that with the pruner's penalty."""
    params = state.params
    weights = state.pruner.weights(params, clock)
    with autocast(settings.precision, device):
        loss = F.cross_entropy(_logits(state.model, weights, inputs), labels)
    penalty = state.pruner.penalty(params, clock)
    total = loss if penalty is None else loss + penalty
    torch.autograd.backward(total)
    state.pruner.observe(params, clock)
    state.optimizer.step()
    state.optimizer.zero_grad()
    state.scheduler.step()
    return loss.detach(), total.detach()


def _logits(model: nn.Module, weights: Params, inputs: Tensor) -> Tensor:
    logits: Tensor = functional_call(model, weights, (inputs,)) if weights else model(inputs)
    return logits


class _Masker:
    """Zeroes what the pruner's mask excludes; a mask goes to the device only when it is new."""

    def __init__(self, state: TrainingState) -> None:
        self.pruner, self.params = state.pruner, state.params
        self.seen: Mask = {}
        self.pruned: Mask = {}

    def __call__(self, clock: Clock) -> None:
        mask = self.pruner.mask(self.params, clock)
        if mask is not self.seen:
            self.seen = mask
            self.pruned = {name: ~kept for name, kept in aligned(mask, self.params).items()}
        with torch.no_grad():
            for name, pruned in self.pruned.items():
                self.params[name].masked_fill_(pruned, 0.0)

    def if_new(self, clock: Clock) -> None:
        if self.pruner.mask(self.params, clock) is not self.seen:
            self(clock)

    def facts(self) -> dict[str, float]:
        """The density over all prunable weights, if there is a mask."""
        pruned = sum(int(each.sum()) for each in self.pruned.values())
        total = sum(weight.numel() for weight in self.params.values())
        return {"density": 1 - pruned / total} if self.pruned else {}


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
    model: nn.Module,
    data: ImageBatches,
    precision: str,
    device: torch.device,
    weights: Params | None = None,
) -> dict[str, float]:
    """Top-1 and top-5 accuracy in percent and mean cross-entropy, over every image once.

    `weights` stand in for the model's own of these names. Counts are divided by the number of
    images, so a smaller last batch weighs what it should.
    Raises NotFinite if the model's outputs are not finite.
    """
    model.eval()
    hits = torch.zeros(2, dtype=torch.long, device=device)
    loss_sum = torch.zeros((), dtype=torch.float64, device=device)
    for inputs, labels in data.plain():
        with autocast(precision, device):
            logits = _logits(model, weights or {}, inputs).float()
        loss_sum += F.cross_entropy(logits, labels, reduction="sum")
        ranked = logits.topk(min(5, logits.shape[1])).indices == labels[:, None]
        hits += torch.stack([ranked[:, 0].sum(), ranked.sum()])
    count = len(data.labels)
    loss = loss_sum.item() / count
    if not torch.isfinite(loss_sum):
        raise NotFinite("the model's outputs are not finite; check its weights with 'inspect'")
    top1, top5 = (100 * int(n) / count for n in hits)
    return {"top1": top1, "top5": top5, "loss": loss}
