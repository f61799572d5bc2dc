"""Train and evaluate: loops that read top to bottom, and never wait for the device in between."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from prunecli.batches import ImageBatches
from prunecli.device import autocast
from prunecli.errors import Mismatch, NotFinite, some
from prunecli.masks import aligned, apply_
from prunecli.modules import scores_of, theirs
from prunecli.seeds import derive_seed
from prunecli.training.given import mask_of, penalty_of, weights_of
from prunecli.training.settings import Settings
from prunecli.training.state import TrainingState
from prunecli.training.statistics import shared_statistics
from prunecli.types import Clock, Mask, Params, Progress
from prunecli.world import World

FAILING = "the network cannot be trained"


@dataclass
class Saving:
    """When the state is saved, besides at the end of every epoch, and when training stops early."""

    save: Callable[[], None] = lambda: None
    interrupted: Callable[[], bool] = lambda: False
    every: float = math.inf
    """Seconds."""

    def __post_init__(self) -> None:
        self.last = time.monotonic()

    def due(self) -> bool:
        return time.monotonic() - self.last >= self.every

    def now(self) -> None:
        self.save()
        self.last = time.monotonic()


def train(
    state: TrainingState,
    data: ImageBatches,
    settings: Settings,
    seed: int,
    *,
    test: ImageBatches | None = None,
    saving: Saving | None = None,
    progress: Progress | None = None,
) -> None:
    """Train to the end of `settings.epochs`, from wherever `state` is.

    The state is saved, complete, at the end of every epoch and as `saving` says; when that is
    interrupted, it is saved and KeyboardInterrupt is raised. With `test`, every epoch is evaluated
    on it. All processes of the data's world stop at the same step, whichever of them was
    interrupted.

    Raises NotFinite, before a state is saved that is not finite, naming the first epoch and step
    whose loss was not, and the tensors that are not by then.
    """
    progress, saving = progress or Progress(), saving or Saving()
    world, masker = data.world, _Masker(state)
    started = time.monotonic()
    masker(state.clock(settings.epochs))
    _check_same(state, world)
    while state.step < settings.epochs * len(data):
        began = time.monotonic()
        loss = _epoch(state, data, settings, seed, masker, saving, progress)
        clock = state.clock(settings.epochs)
        row = {"epoch": clock.epoch, "loss": loss, "lr": _lr(state)}
        row |= masker.facts() | state.pruner.facts()
        if test is not None:
            row |= _tested(state, test, settings, clock)
        state.history.append(row)
        _check_same(state, world)
        saving.now()
        progress.say(_line(row, time.monotonic() - began))
        if world.any(saving.interrupted()):
            _stop(state, progress)
    if settings.epochs:
        progress.say(f"trained in {time.monotonic() - started:.1f} s")


def _epoch(
    state: TrainingState,
    data: ImageBatches,
    settings: Settings,
    seed: int,
    masker: _Masker,
    saving: Saving,
    progress: Progress,
) -> float:
    """Train to the end of the epoch that `state` is in; gives its mean loss."""
    steps, world, device = len(data), data.world, state.device
    epoch, start = divmod(state.step, steps)
    state.model.train()
    loss_sum = torch.zeros((), device=device) if state.loss_sum is None else state.loss_sum
    first_bad = torch.zeros((), dtype=torch.long, device=device)
    drawn = data.epoch(derive_seed(seed, "epoch", epoch), start)
    for number, (inputs, labels) in enumerate(drawn, start):
        clock, count = Clock(state.step + 1, steps, settings.epochs), data.size(number)
        loss, total = _step(state, inputs, labels, count, settings, clock, masker, world, seed)
        masker(clock)
        state.pruner.update(state.params, clock)
        masker.if_new(clock)
        state.step += 1
        loss_sum += loss
        first_bad += (first_bad == 0) * ~torch.isfinite(total) * state.step
        stops = world.any(saving.interrupted())
        if (stops or world.any(saving.due())) and not clock.epoch_ends:
            state.loss_sum = loss_sum
            _check_finite(state, first_bad)
            saving.now()
            if stops:
                _stop(state, progress)
        progress.advance(f"epoch {epoch + 1}/{settings.epochs}", number + 1, steps)
    state.loss_sum = None
    _check_finite(state, first_bad)
    return loss_sum.item() / steps


def _stop(state: TrainingState, progress: Progress) -> NoReturn:
    """What is saved by now is all."""
    progress.say(f"stopped after step {state.step}; --resume goes on from there")
    raise KeyboardInterrupt


def _step(
    state: TrainingState,
    inputs: Tensor,
    labels: Tensor,
    count: int,
    settings: Settings,
    clock: Clock,
    masker: _Masker,
    world: World,
    seed: int,
) -> tuple[Tensor, Tensor]:
    """Gives the loss of the task, and that with the pruner's penalty, over the `count` images.

    Each process gives the sum over its own images divided by the count of all, and its part of the
    penalty, so that what they add up to is the loss and the gradient of a single process.
    """
    params = state.params
    weights = weights_of(state.pruner, params, clock)
    own = world.apart(derive_seed(seed, "step", clock.step), inputs.device)
    with own, theirs(FAILING), autocast(settings.precision, inputs.device):
        logits = _logits(state.model, weights, inputs, world, count)
        loss = F.cross_entropy(logits, labels, reduction="sum") / count
    penalty = penalty_of(state.pruner, params, clock)
    total = loss if penalty is None else loss + penalty / world.size
    if not total.requires_grad:
        raise Mismatch("there is nothing to train: every parameter is frozen")
    with theirs(FAILING):
        torch.autograd.backward(total)
    loss, total = loss.detach(), total.detach()
    # By hand and not by DistributedDataParallel, which wraps a module: here pruners put weights of
    # their own in its place and train thresholds beside it. One exchange carries it all.
    world.add_up([loss, total, *state.gradients()])
    state.pruner.observe(params, clock)
    masker.look(clock)
    state.optimizer.step()
    state.optimizer.zero_grad()
    state.scheduler.step()
    return loss, total


def _logits(
    model: nn.Module, weights: Params, inputs: Tensor, world: World, count: int = 0
) -> Tensor:
    with shared_statistics(world, count):
        given = functional_call(model, weights, (inputs,)) if weights else model(inputs)
    return scores_of(given)


def _tested(
    state: TrainingState, test: ImageBatches, settings: Settings, clock: Clock
) -> dict[str, float]:
    """What the log says of the test set."""
    with torch.no_grad():
        weights = weights_of(state.pruner, state.params, clock)
    result = evaluate(state.model, test, settings.precision, state.device, weights)
    return {"top1": result["top1"], "test_loss": result["loss"]}


class _Masker:
    """Zeroes what the pruner's mask excludes; a mask goes to the device only when it is new.

    What a new mask has in and the one before had not begins anew in the optimizer too.
    """

    def __init__(self, state: TrainingState) -> None:
        self.state, self.pruner, self.params = state, state.pruner, state.params
        self.seen: Mask = {}
        self.kept: Mask = {}

    def __call__(self, clock: Clock) -> None:
        self.look(clock)
        apply_(self.params, self.kept)

    def look(self, clock: Clock) -> bool:
        """Take the mask of now; gives whether it is a new one."""
        mask = mask_of(self.pruner, self.params, clock, self.seen)
        if mask is self.seen:
            return False
        before, self.seen, self.kept = self.kept, mask, aligned(mask, self.params)
        self.state.forget(before, self.kept)
        return True

    def if_new(self, clock: Clock) -> None:
        if self.look(clock):
            apply_(self.params, self.kept)

    def facts(self) -> dict[str, float]:
        """The density over all prunable weights, or as the pruner counts it, if there is a mask."""
        if not self.kept:
            return {}
        whole = sum(w.numel() for n, w in self.params.items() if n not in self.kept)
        left = sum(int(each.sum()) for each in self.kept.values())
        if self.pruner.counted is not None:
            return {"density": left / self.pruner.counted}
        return {"density": (whole + left) / sum(w.numel() for w in self.params.values())}


def _check_same(state: TrainingState, world: World) -> None:
    """That no process went astray: it would spoil what the others compute, unseen."""
    step = torch.tensor(state.step)
    world.check_same([step, *state.model.state_dict().values(), *state.pruner.parameters()])


def _check_finite(state: TrainingState, first_bad: Tensor) -> None:
    """That nothing in the state is NaN or infinite, nor was the loss of a step (or 0)."""
    bad, step = state.not_finite(), int(first_bad)
    if bad or step:
        what = ["the loss is not finite"] if step else []
        what += [f"NaN or infinity in {some(bad)}"] if bad else []
        epoch, done = divmod((step or state.step) - 1, state.steps_per_epoch)
        raise NotFinite(
            f"training went astray in epoch {epoch + 1}, step {done + 1}: {', then '.join(what)}; "
            "lower --lr, or use --precision fp32"
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
        with theirs("the network cannot be evaluated"), autocast(precision, device):
            logits = _logits(model, weights or {}, inputs, data.world).float()
        loss_sum += F.cross_entropy(logits, labels, reduction="sum")
        ranked = logits.topk(min(5, logits.shape[1])).indices == labels[:, None]
        hits += torch.stack([ranked[:, 0].sum(), ranked.sum()])
    data.world.add_up([hits, loss_sum])
    count = len(data.labels)
    loss = loss_sum.item() / count
    if not torch.isfinite(loss_sum):
        raise NotFinite("the model's outputs are not finite; check its weights with 'inspect'")
    top1, top5 = (100 * int(n) / count for n in hits)
    return {"top1": top1, "top5": top5, "loss": loss}
