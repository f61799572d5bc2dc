"""Within an epoch nothing waits for the GPU, and steps are replayed from CUDA graphs."""

import warnings
from pathlib import Path

import pytest
import torch
from on_gpu import IS_GPU, MODELS, PRUNERS, SMALL, Listening, options_of

from prunecli.data.digits import digits
from prunecli.images.batches import ImageBatches
from prunecli.network.layers import prunable
from prunecli.plugins.names import names
from prunecli.plugins.resolve import resolve
from prunecli.pruners._fixed import Fixed
from prunecli.runtime.device import put_on
from prunecli.settings.training import Hyperparameters
from prunecli.training import loop
from prunecli.training.course import TrainingSet, build_pruner
from prunecli.training.state import new_state
from prunecli.types import Pruner

pytestmark = pytest.mark.cuda

FIRST, LAST = -15, -4
"""After which steps nothing may wait, counted from the end of two epochs of 41 steps. With them the
next one is watched, up to the 79th: `QUIET` masks change with the 80th."""
WAITS = {"fixed-bs"}
"""It bisects until a threshold fits, and looks at every step."""
QUIET = {name: {"every": 20} for name in ("rigl", "set", "gradual")} | {"weightmom": {"events": 1}}
"""So that masks change before, and not within."""
KINDS = ["none", "fixed mask", *(name for name in PRUNERS if name not in WAITS)]
REPLAYED = [
    "gradients are replayed as a CUDA graph from here on",
    "updates are replayed as a CUDA graph from here on",
]


class Training:
    """Two epochs on digits, set up and not begun."""

    def __init__(self, device, kind, precision="fp32", model=None):
        torch.manual_seed(0)
        own = model or MODELS.get(kind, SMALL)
        build = resolve("models", own["model"], by_file=False)
        net = put_on(build((1, 28, 28), 10, **own["model_options"]), device)
        images = TrainingSet(digits(Path(), "train"), device, 0)
        pruner = self.pruner(kind, net, images)
        self.settings = Hyperparameters(epochs=2, batch_size=36, precision=precision)
        self.data = ImageBatches(images.data, device, 36)
        self.state = new_state(net, self.settings, pruner, len(self.data))
        self.watched = range(2 * len(self.data))[FIRST:LAST]
        self.guarded, self.listening = [], Listening()

    @staticmethod
    def pruner(kind, net, images):
        if kind == "none":
            return Pruner()
        if kind == "fixed mask":
            draw = torch.Generator().manual_seed(0)
            return Fixed(
                {n: torch.rand(w.shape, generator=draw) < 0.3 for n, w in prunable(net).items()}
            )
        if isinstance(kind, Pruner):
            return kind
        options = options_of(kind) | QUIET.get(kind, {})
        plugin = resolve("pruners", kind, options, by_file=False)
        return build_pruner(plugin, net, images, 2)

    def go(self, graphs):
        saving = loop.Saving(interrupted=self.look)
        try:
            loop.train(self.state, self.data, self.settings, 0, saving=saving,
                       progress=self.listening, graphs=graphs)  # fmt: skip
        finally:
            forbid(False)

    def look(self):
        """Asked after every step: until which one may nothing wait?"""
        inside = self.state.step in self.watched
        forbid(inside)
        if inside:
            self.guarded.append(self.state.step)
        return False


def forbid(waiting):
    """Whether what waits for the GPU raises from now on."""
    if not IS_GPU:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this does not see everything
        torch.cuda.set_sync_debug_mode("error" if waiting else "default")


@pytest.mark.parametrize("graphs", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_no_step_waits_for_the_gpu(device, kind, graphs):
    training = Training(device, kind)
    training.go(graphs)
    assert training.guarded == list(training.watched)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_no_step_of_a_network_with_dropout_waits_for_the_gpu(device, precision):
    alexnet = {"model": "alexnet", "model_options": {"thin": 0.01}}
    training = Training(device, "none", precision, alexnet)
    training.go(True)
    assert training.guarded == list(training.watched)


class Waiting(Pruner):
    """Looks at a number at every step."""

    def observe(self, params, clock):
        float(next(iter(params.values())).detach().sum())


def test_a_step_that_waits_would_be_seen(device, only_gpu):
    training = Training(device, Waiting())
    with pytest.raises(RuntimeError, match="synchroniz"):
        training.go(False)
    assert training.guarded == [training.watched[0]]


@pytest.mark.parametrize("kind", KINDS)
def test_steps_are_replayed(device, only_gpu, kind):
    training = Training(device, kind)
    training.go(True)
    assert training.listening.details == REPLAYED


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("model", names("models"))
def test_steps_of_every_model_are_replayed(device, only_gpu, model, precision):
    training = Training(
        device, "none", precision, {"model": model, "model_options": {"thin": 0.05}}
    )
    training.go(True)
    assert training.listening.details == REPLAYED
