"""One step of training: from a batch to new weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from prunecli.errors import BadEnvironment, Mismatch
from prunecli.network.modules import scores_of, theirs
from prunecli.runtime.device import autocast
from prunecli.runtime.progress import Progress
from prunecli.runtime.seeds import derive_seed
from prunecli.runtime.world import World
from prunecli.settings.training import Hyperparameters
from prunecli.training.given import is_steady, penalty_of, weights_of
from prunecli.training.masker import Masker
from prunecli.training.replay import Recorder, Replayed, Work
from prunecli.training.state import TrainingState
from prunecli.training.statistics import shared_statistics
from prunecli.types import Clock, Params


def forward(model: nn.Module, weights: Params, inputs: Tensor) -> Tensor:
    """The output of the network with these weights in place of its own of the same names."""
    given = functional_call(model, weights, (inputs,)) if weights else model(inputs)
    return scores_of(given)


def _compiled() -> Callable[[nn.Module, Params, Tensor], Tensor]:
    """The function `forward`, compiled for one shape of input."""
    torch.compiler.reset()  # after so many networks of earlier trainings it would compile no more
    return torch.compile(forward, dynamic=False)


class Step:
    """Takes the steps of a training, one after the other.

    With a `recorder`, the two halves that only compute, from a whole batch to the gradients and
    from there to the new weights, are replayed as soon as they can be. What the pruner does between
    them and after, it is asked to do at every step.
    """

    def __init__(
        self,
        state: TrainingState,
        settings: Hyperparameters,
        seed: int,
        world: World | None = None,
        recorder: Recorder | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.state, self.settings, self.seed = state, settings, seed
        self.world, self.progress = world or World(), progress or Progress()
        self.masker = Masker(state)
        self.clock = state.clock(settings.epochs)
        self.compiled = _compiled() if settings.compile else None
        self.rates = _Rates(state, recorder)
        self.trained = [p for group in state.optimizer.param_groups for p in group["params"]]
        self.moving: list[nn.Parameter] = []
        """The trained parameters that have a gradient."""
        self.recorder = self._fit(recorder)
        self.batch: list[Tensor] = []
        """The tensors that a whole batch is put into, to be found by what is recorded."""
        self.slopes = self._replayed("gradients", self._slopes_of_whole, self._buffers)
        self.descent, self.masked = self._new_descent(), self.masker.kept

    def __call__(self, inputs: Tensor, labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The loss of the task, and that with the pruner's penalty, over the `count` images.

        Each process gives the sum over its own images divided by the count of all, and its part of
        the penalty, so that what they add up to is the loss and the gradient of a single process.
        """
        state, pruner = self.state, self.state.pruner
        clock = self.clock = Clock(state.step + 1, state.steps_per_epoch, self.settings.epochs)
        loss, total = self._differentiate(inputs, labels, count)
        # By hand and not by DistributedDataParallel, which wraps a module: here pruners put weights
        # of their own in its place and train thresholds beside it. One exchange carries it all.
        self.world.add_up([loss, total, *state.gradients()])
        pruner.observe(state.params, clock)
        self.masker.look(clock)
        self._descend()
        state.scheduler.step()
        pruner.update(state.params, clock)
        self.masker.update(clock)
        state.step += 1
        return loss, total

    def end(self) -> None:
        """Take no more steps: release the recordings, which keep all the memory of a step.

        Both recordings refer back to the step, so they would stay until Python looks for cycles.
        """
        self.state.optimizer.zero_grad()
        del self.slopes, self.descent

    def _differentiate(self, inputs: Tensor, labels: Tensor, count: int) -> list[Tensor]:
        """The two losses, with the gradients in place."""
        if not self.slopes.may_replay or count != self.settings.batch_size:
            return self._slopes(inputs, labels, count)[:2]
        if not self.batch:
            self.batch = [torch.empty_like(inputs), torch.empty_like(labels)]
        for slot, given in zip(self.batch, (inputs, labels), strict=True):
            slot.copy_(given)
        loss, total, *slopes = self.slopes()
        for parameter, slope in zip(self.moving, slopes, strict=True):
            if parameter.grad is not slope:  # but that of an eager step, or of the pruner
                parameter.grad = slope
        return [loss, total]

    def _slopes_of_whole(self) -> list[Tensor]:
        inputs, labels = self.batch
        return self._slopes(inputs, labels, len(labels))

    def _slopes(self, inputs: Tensor, labels: Tensor, count: int) -> list[Tensor]:
        """The two losses and the gradients, of what has any."""
        state, clock, whole = self.state, self.clock, count == self.settings.batch_size
        state.optimizer.zero_grad()
        net = self.compiled if self.compiled and whole else forward
        weights = weights_of(state.pruner, state.params, clock)
        own = self.world.apart(derive_seed(self.seed, "step", clock.step), inputs.device)
        with own, self._theirs(), autocast(self.settings.precision, inputs.device):
            with shared_statistics(self.world, count):
                logits = net(state.model, weights, inputs)
            loss = F.cross_entropy(logits, labels, reduction="sum") / count
        penalty = penalty_of(state.pruner, state.params, clock)
        total = loss if penalty is None else loss + penalty / self.world.size
        if not total.requires_grad:
            raise Mismatch("there is nothing to train: every parameter is frozen")
        with self._theirs():
            torch.autograd.backward(total)
        self.moving = [p for p in self.trained if p.grad is not None]
        return [loss.detach(), total.detach(), *state.gradients()]

    def _descend(self) -> None:
        """Take the optimizer's step, and keep masked weights at zero."""
        self.rates.take()
        if self.masked is not self.masker.kept:  # a recording knows no other tensors
            self.descent, self.masked = self._new_descent(), self.masker.kept
        recorded = self.slopes.results[2:]
        if recorded and all(p.grad is g for p, g in zip(self.moving, recorded, strict=True)):
            self.descent()
        else:
            self._descent()

    def _descent(self) -> list[Tensor]:
        with self.rates.on_device():
            self.state.optimizer.step()
        self.masker.apply()
        return []

    def _new_descent(self) -> Replayed:
        return self._replayed("updates", self._descent, self._moved)

    def _replayed(self, name: str, work: Work, changes: Callable[[], Sequence[Tensor]]) -> Replayed:
        return Replayed(name, work, changes, self.recorder, self.progress.detail)

    def _buffers(self) -> list[Tensor]:
        return list(self.state.model.buffers())

    def _moved(self) -> list[Tensor]:
        """The tensors that the optimizer changes."""
        states = [each.values() for each in self.state.optimizer.state.values()]
        held = [value for values in states for value in values if isinstance(value, Tensor)]
        return [*self.trained, *held]

    def _fit(self, recorder: Recorder | None) -> Recorder | None:
        """The recorder, unless the step can differ from one time to the next."""
        why = "several processes share them" if self.world.size > 1 else ""
        why = why or ("" if is_steady(self.state.pruner) else "the pruner may change them")
        if recorder is None or not why:
            return recorder
        self.progress.detail(f"steps are not replayed as CUDA graphs: {why}")
        return None

    def _theirs(self) -> AbstractContextManager[None]:
        """A context for other people's code: the network's and the compiler's."""
        if self.compiled is None:
            return theirs("the network cannot be trained")
        return theirs("the network cannot be trained with --compile", BadEnvironment)


class _Rates:
    """The learning rates on the GPU, where what is recorded finds those of now."""

    def __init__(self, state: TrainingState, recorder: Recorder | None) -> None:
        self.groups = state.optimizer.param_groups
        there = recorder is not None or state.device.type == "cuda"
        self.values = [torch.zeros((), device=state.device) for _ in self.groups if there]

    def take(self) -> None:
        for value, group in zip(self.values, self.groups, strict=False):
            value.fill_(group["lr"])

    @contextmanager
    def on_device(self) -> Iterator[None]:
        """Have the optimizer, within, find the rates there."""
        if not self.values:
            yield
            return
        told = [dict(group) for group in self.groups]
        for group, value in zip(self.groups, self.values, strict=True):
            group["lr"] = value
            if "capturable" in group:  # Adam refuses to be recorded without, and warns otherwise
                group["capturable"] = value.is_cuda and torch.cuda.is_current_stream_capturing()
        try:
            yield
        finally:
            for group, before in zip(self.groups, told, strict=True):
                group.update(before)
