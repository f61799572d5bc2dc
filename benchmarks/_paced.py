"""Trainings that are measured: as the command trains, but a number of steps at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from threading import Semaphore, Thread
from typing import Any

import torch

from prunecli.images.batches import ImageBatches
from prunecli.network.layers import prunable
from prunecli.plugins.resolve import resolve
from prunecli.pruners._fixed import Fixed
from prunecli.runtime.device import put_on
from prunecli.runtime.progress import Progress
from prunecli.settings.training import Hyperparameters
from prunecli.training import loop
from prunecli.training.course import TrainingSet, build_pruner
from prunecli.training.state import TrainingState, new_state
from prunecli.types import Images, Pruner

ENDLESS = 10**6


def steady(batch_size: int, precision: str, compiled: bool = False) -> Hyperparameters:
    """A training with no end in sight, at a rate at which labels drawn at random do no harm."""
    return Hyperparameters(
        epochs=ENDLESS,
        batch_size=batch_size,
        lr=0.001,
        schedule="constant",
        precision=precision,
        compile=compiled,
    )


class Paced:
    """A training of the network `name`, dense or with a pruner, that waits until it is told to go.

    It runs in a thread of its own, since what it has recorded and compiled is to last from one
    `go` to the next, and two trainings are to take turns. Enter it to start, leave it to end.
    `pruner` is a name, with options, or the density of a random mask that stays.
    """

    def __init__(
        self,
        name: str,
        data: Images,
        settings: Hyperparameters,
        device: torch.device,
        *,
        graphs: bool = True,
        pruner: str | float | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        torch.manual_seed(0)
        model = put_on(resolve("models", name, by_file=False)(data.input_shape, 10), device)
        acting = Pruner()
        if isinstance(pruner, float):
            acting = Fixed({n: torch.rand(w.shape) < pruner for n, w in prunable(model).items()})
        elif pruner is not None:
            held = TrainingSet(data, device, 0)
            plugin = resolve("pruners", pruner, options or {}, by_file=False)
            # Never at the end of it, where masks are made.
            acting = build_pruner(plugin, model, held, ENDLESS)
        self.batches = ImageBatches(data, device, settings.batch_size)
        self.state: TrainingState = new_state(model, settings, acting, len(self.batches))
        self.settings, self.device, self.graphs = settings, device, graphs
        self.told = _Told()
        self.until = 0
        self.ended = False
        self.error: BaseException | None = None
        self._may_go, self._waits = Semaphore(0), Semaphore(0)
        self._thread = Thread(target=self._run, daemon=True)

    def __enter__(self) -> Paced:
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self.ended = True
        self._may_go.release()
        self._thread.join()

    def go(self, steps: int) -> None:
        """Take so many steps. Raises what the training raises."""
        self.until = self.state.step + steps
        self._may_go.release()
        self._waits.acquire()
        if self.error is not None:
            raise self.error

    def timed(self, steps: int) -> float:
        """Seconds that they take, until the device is done with them too."""
        return timed(lambda: self.go(steps), self.device)

    def seen(self) -> int:
        """Images, since the start."""
        epochs, step = divmod(self.state.step, len(self.batches))
        return epochs * len(self.batches.labels) + step * self.batches.batch_size

    def _run(self) -> None:
        saving = loop.Saving(interrupted=self._pause)
        try:
            self._may_go.acquire()
            if self.ended:
                return
            with suppress(KeyboardInterrupt):
                loop.train(
                    self.state,
                    self.batches,
                    self.settings,
                    0,
                    saving=saving,
                    progress=self.told,
                    graphs=self.graphs,
                )
        except BaseException as error:
            self.error = error
        finally:
            self._waits.release()

    def _pause(self) -> bool:
        """Called after every step: whether to end, once the steps of this `go` are done."""
        if self.state.step >= self.until and not self.ended:
            self._waits.release()
            self._may_go.acquire()
        return self.ended


class _Told(Progress):
    """Keeps what explains a figure, such as that no graph could be recorded."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def detail(self, message: str) -> None:
        self.notes.append(message)

    def warn(self, message: str) -> None:
        self.notes.append(message)


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Seconds until it is done, on the device too."""
    settle(device)
    began = time.perf_counter()
    work()
    settle(device)
    return time.perf_counter() - began


def settle(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
