"""A network small enough to be pruned many times, and two ways to set a pruner to work on one."""

import signal
import sys
import types
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import skip_init

from prunecli.data.digits import digits
from prunecli.images.batches import ImageBatches
from prunecli.plugins.names import check_name
from prunecli.plugins.resolve import resolve
from prunecli.settings.training import Hyperparameters
from prunecli.training import loop
from prunecli.training.course import TrainingSet, build_pruner
from prunecli.training.state import TrainingState, new_state
from prunecli.types import Course, Pruner

CPU = torch.device("cpu")


def network(input_shape, classes):
    """1,340 prunable weights on digits, with batch normalisation: 100, 216, 864 and 160."""
    return nn.Sequential(
        nn.Conv2d(input_shape[0], 4, 5, stride=3), nn.BatchNorm2d(4), nn.ReLU(),
        nn.Conv2d(4, 6, 3, stride=2), nn.ReLU(), nn.Flatten(),
        nn.Linear(54, 16), nn.ReLU(), nn.Linear(16, classes),
    )  # fmt: skip


@pytest.fixture
def tiny(monkeypatch, trusting):
    """The name that leads to `network`."""
    module = types.ModuleType("tiny_for_tests")
    module.__dict__["network"] = network
    monkeypatch.setitem(sys.modules, module.__name__, module)
    trusting(module.__name__)
    return f"{module.__name__}:network"


@dataclass(frozen=True)
class Run:
    """A training that is set up and not begun."""

    model: nn.Module
    images: TrainingSet
    pruner: Pruner
    state: TrainingState
    settings: Hyperparameters

    def go(
        self,
        each: Callable[[int], Any] = lambda step: None,
        save: Callable[[], None] = lambda: None,
    ):
        """Train; `each` is called after every step with the number of it, `save` after epochs."""
        data = ImageBatches(self.images.data, self.images.device, self.settings.batch_size)
        done = [0]

        def look():
            if self.state.step > done[-1]:  # at an epoch's end the loop asks once more
                done.append(self.state.step)
                each(self.state.step)
            return False

        saving = loop.Saving(save, look)
        loop.train(self.state, data, self.settings, 0, saving=saving)

    def mask(self):
        return self.pruner.mask(self.state.params, self.state.clock(self.settings.epochs))


@pytest.fixture
def begin():
    """`begin(pruner, epochs, **options)`: a training of `network` on a tenth of the digits.

    Of 143 images in batches of 36: four steps an epoch, if none are held out. `build` makes another
    network, from the images' shape and the number of classes.
    """

    def run(
        name,
        epochs=2,
        *,
        seed=0,
        data=None,
        build=network,
        ignore=(),
        settings=None,
        device=CPU,
        **options,
    ):
        torch.manual_seed(0)
        data = data or digits(Path(), "train", fraction=0.1)
        model = build(data.input_shape, len(data.classes)).to(device)
        images = TrainingSet(data, device, seed)
        plugin = resolve("pruners", name, options, by_file=False)
        pruner = build_pruner(plugin, model, images, epochs, ignore)
        chosen = {"batch_size": 36, "precision": "fp32"} | (settings or {})
        how = Hyperparameters(epochs=epochs, **chosen)
        steps = len(ImageBatches(images.data, device, how.batch_size))
        return Run(model, images, pruner, new_state(model, how, pruner, steps), how)

    return run


def _never(*arguments, **options):
    raise AssertionError("this pruner has no use for that")


@pytest.fixture
def course():
    """`course(weights, epochs)`: one for a pruner that is driven by hand, without a network."""

    def make(weights, epochs, *, seed=0, score=_never, hold_out=_never, flops=_never, warn=_never):
        params = {
            name: nn.Parameter(torch.as_tensor(weight, dtype=torch.float32).clone())
            for name, weight in weights.items()
        }

        def scorer(method):
            check_name("scorers", method)
            return partial(score, method)

        model = nn.ModuleDict()
        for name, weight in params.items():
            model[name.removesuffix(".weight")] = holder = skip_init(nn.Linear, 1, 1, bias=False)
            holder.weight = weight
        return Course(model, params, epochs, seed, scorer, hold_out, flops, warn)

    return make


@pytest.fixture
def within():
    """`with within(seconds):` fails what goes on for ever."""

    @contextmanager
    def limit(seconds):
        def ring(number, frame):
            raise AssertionError(f"still at it after {seconds} seconds of work")

        # Seconds of this process's own work: other processes may take the machine meanwhile.
        before = signal.signal(signal.SIGVTALRM, ring)
        signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.signal(signal.SIGVTALRM, before)

    return limit
