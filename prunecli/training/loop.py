"""The loops that train and evaluate; they do not wait for the device in between."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prunecli.errors import NotFinite, some
from prunecli.images.batches import ImageBatches
from prunecli.network.modules import theirs
from prunecli.runtime.device import autocast
from prunecli.runtime.progress import Progress
from prunecli.runtime.seeds import derive_seed
from prunecli.runtime.world import World
from prunecli.settings.training import Hyperparameters
from prunecli.training.given import weights_of
from prunecli.training.replay import on_own_stream, recorder_of
from prunecli.training.state import TrainingState
from prunecli.training.statistics import shared_statistics
from prunecli.training.step import Step, forward
from prunecli.types import Clock, Params

CHEAP = 0.05
"""A save that takes fewer seconds counts as cheap."""
SHARE = 1 / 20
"""The most of a training's time that saves can take if they are not cheap."""


@dataclass
class Saving:
    """When to save the state, besides when training stops early."""

    save: Callable[[], None] = lambda: None
    interrupted: Callable[[], bool] = lambda: False
    every: float = math.inf
    """Seconds."""
    took: float = 0.0
    """Seconds that the last save took."""

    def __post_init__(self) -> None:
        self.last = time.monotonic()

    def due(self, *, epoch_ends: bool) -> bool:
        """Whether to save now.

        At the end of an epoch, unless saves would take too much of the time; else by `every`.
        """
        passed = time.monotonic() - self.last
        if epoch_ends and (self.took <= CHEAP or passed * SHARE >= self.took):
            return True
        return passed >= self.every

    def now(self) -> None:
        began = time.monotonic()
        self.save()
        self.last = time.monotonic()
        self.took = self.last - began


def train(
    state: TrainingState,
    data: ImageBatches,
    settings: Hyperparameters,
    seed: int,
    *,
    test: ImageBatches | None = None,
    saving: Saving | None = None,
    progress: Progress | None = None,
    graphs: bool = True,
) -> None:
    """Train from `state` to the end of `settings.epochs`.

    The complete state is saved as `saving` says; on an interrupt, it is saved and
    KeyboardInterrupt is raised. With `test`, every epoch is evaluated on it. All processes of the
    data's world stop at the same step, whichever of them was interrupted. On a GPU, steps are
    replayed as CUDA graphs where they can be, unless `graphs` says no; they come to the same bits.

    Raises NotFinite, before a state with NaN or infinity is saved, naming the first epoch and step
    whose loss was not finite, and the tensors that are not.
    """
    progress, saving = progress or Progress(), saving or Saving()
    started = time.monotonic()
    recorder = recorder_of(state.device) if graphs else None
    step = Step(state, settings, seed, data.world, recorder, progress)
    step.masker.update(state.clock(settings.epochs))
    _check_same(state, data.world)
    try:
        with on_own_stream(state.device):
            while state.step < settings.epochs * len(data):
                _epoch(step, data, test, saving, progress)
    finally:
        step.end()
    if settings.epochs:
        progress.say(f"trained in {time.monotonic() - started:.1f} s")


def _epoch(
    step: Step, data: ImageBatches, test: ImageBatches | None, saving: Saving, progress: Progress
) -> None:
    """Train to the end of the current epoch, log and save it."""
    state, settings, world, began = step.state, step.settings, data.world, time.monotonic()
    loss = _pass(step, data, saving, progress)
    clock = state.clock(settings.epochs)
    row = {"epoch": clock.epoch, "loss": loss, "lr": _lr(state)}
    row |= step.masker.facts() | state.pruner.facts()
    if test is not None:
        row |= _tested(state, test, settings, clock)
    state.history.append(row)
    _check_same(state, world)
    stops = world.any(saving.interrupted())
    if world.any(stops or saving.due(epoch_ends=True)):
        saving.now()
    progress.say(_line(row, time.monotonic() - began))
    if stops:
        _stop(state, progress)


def _pass(step: Step, data: ImageBatches, saving: Saving, progress: Progress) -> float:
    """Take the remaining steps of the epoch; returns its mean loss."""
    state, steps, epochs, world = step.state, len(data), step.settings.epochs, data.world
    epoch, start = divmod(state.step, steps)
    state.model.train()
    loss_sum = torch.zeros((), device=state.device) if state.loss_sum is None else state.loss_sum
    first_bad = torch.zeros((), dtype=torch.long, device=state.device)
    drawn = data.epoch(derive_seed(step.seed, "epoch", epoch), start)
    for number, (inputs, labels) in enumerate(drawn, start):
        loss, total = step(inputs, labels, data.size(number))
        loss_sum += loss
        first_bad += (first_bad == 0) * ~torch.isfinite(total) * state.step
        stops = world.any(saving.interrupted())
        if world.any(stops or saving.due(epoch_ends=False)) and number + 1 < steps:
            state.loss_sum = loss_sum
            _check_finite(state, first_bad)
            saving.now()
            if stops:
                _stop(state, progress)
        progress.advance(f"epoch {epoch + 1}/{epochs}", number + 1, steps)
    state.loss_sum = None
    _check_finite(state, first_bad)
    return loss_sum.item() / steps


def _stop(state: TrainingState, progress: Progress) -> NoReturn:
    """Report that training has stopped, and raise KeyboardInterrupt. Nothing more is saved."""
    progress.say(f"stopped after step {state.step}; continue with --resume")
    raise KeyboardInterrupt


def _tested(
    state: TrainingState, test: ImageBatches, settings: Hyperparameters, clock: Clock
) -> dict[str, float]:
    """The log's entries on the test set."""
    with torch.no_grad():
        weights = weights_of(state.pruner, state.params, clock)
    result = evaluate(state.model, test, settings.precision, state.device, weights)
    return {"top1": result["top1"], "test_loss": result["loss"]}


def _check_same(state: TrainingState, world: World) -> None:
    """Raise Mismatch if a process has other weights: it would silently spoil the others' work."""
    step = torch.tensor(state.step)
    world.check_same([step, *state.model.state_dict().values(), *state.pruner.parameters()])


def _check_finite(state: TrainingState, first_bad: Tensor) -> None:
    """Raise NotFinite for NaN or infinity in the state, or in the loss of a step (or 0)."""
    bad, step = state.not_finite(), int(first_bad)
    if bad or step:
        what = ["the loss is not finite"] if step else []
        what += [f"NaN or infinity in {some(bad)}"] if bad else []
        epoch, done = divmod((step or state.step) - 1, state.steps_per_epoch)
        raise NotFinite(
            f"training diverged in epoch {epoch + 1}, step {done + 1}: {', then '.join(what)}; "
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
    images, so a smaller last batch has its correct weight.
    Raises NotFinite if the model's outputs are not finite.
    """
    model.eval()
    hits = torch.zeros(2, dtype=torch.long, device=device)
    loss_sum = torch.zeros((), dtype=torch.float64, device=device)
    for inputs, labels in data.plain():
        shared = shared_statistics(data.world)
        with theirs("the network cannot be evaluated"), autocast(precision, device), shared:
            logits = forward(model, weights or {}, inputs).float()
        loss_sum += F.cross_entropy(logits, labels, reduction="sum")
        ranked = logits.topk(min(5, logits.shape[1])).indices == labels[:, None]
        hits += torch.stack([ranked[:, 0].sum(), ranked.sum()])
    data.world.add_up([hits, loss_sum])
    count = len(data.labels)
    loss = loss_sum.item() / count
    if not math.isfinite(loss):
        raise NotFinite("the model's outputs are not finite; check its weights with 'inspect'")
    top1, top5 = (100 * n / count for n in hits.tolist())
    return {"top1": top1, "top5": top5, "loss": loss}
