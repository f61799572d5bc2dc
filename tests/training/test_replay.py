"""Steps that are replayed, against steps that are not."""

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from replays import CPU, REPLAYED, REPLAYS, SETTINGS, eager, fixed, images, named, network, same
from tape import Tape

from prunecli.images.batches import ImageBatches
from prunecli.plugins.names import names
from prunecli.pruners import _straight, adaptive
from prunecli.training import loop
from prunecli.training.optimizers import OPTIMIZERS, SCHEDULES
from prunecli.training.state import new_state
from prunecli.training.step import Step
from prunecli.types import Pruner


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_replayed_steps_come_to_the_same_bits(run, optimizer, schedule):
    settings = replace(SETTINGS, optimizer=optimizer, schedule=schedule, lr=0.01)
    tape = Tape()
    replayed, said = run(tape, settings)
    assert said == REPLAYED
    assert tape.replays == REPLAYS
    assert same(replayed, run(eager(), settings)[0])


PRUNERS = {
    "fixed": fixed,
    "rigl": named("rigl", density=0.3, every=3),
    "set": named("set", density=0.3, every=2),
    "gradual": named("gradual", density=0.2, every=2),
    "weightmom": named("weightmom", density=0.2, window=1, every=1),
    "gmp": named("gmp", beta=0.1, gamma=0.1),
    "fixed-ga": named("fixed-ga", density=0.5, least=2),
    "adaptive": named("adaptive", density=0.4, least=2, rate=1.0),
    "recentred": named("adaptive", density=0.4, least=2, rate=1.0, recenter=True),
    "apart": named("adaptive", density=0.4, least=2, rate=1.0, apart="0.3:0.8"),
}


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """Thresholds are compared with, not asked for, as a GPU does it."""

    def shrunk(w, t):
        return w.masked_fill(w.abs() < t, 0.0)

    monkeypatch.setattr(_straight, "shrunk", shrunk)
    monkeypatch.setattr(adaptive, "shrunk", shrunk)


@pytest.mark.parametrize("name", PRUNERS)
def test_a_pruner_has_its_say_between_replayed_halves(run, as_on_a_gpu, name):
    tape = Tape()
    replayed, said = run(tape, pruner=PRUNERS[name])
    assert said[-2:] == REPLAYED
    assert tape.replays == REPLAYS
    assert same(replayed, run(eager(), pruner=PRUNERS[name])[0])
    mask = replayed.pruner.mask(replayed.params, replayed.clock(4))
    assert mask
    for weight, kept in mask.items():
        assert not replayed.params[weight].detach()[~kept].any()


def test_every_bundled_pruner_that_can_be_replayed_is_tried_here():
    steady = set(names("pruners")) - {"fixed-bs", "n2nskip"}
    assert steady <= set(PRUNERS)


@pytest.mark.parametrize("stop", [1, 3, 4, 6, 8, 12, 17, 23])
def test_a_run_that_was_stopped_goes_on_to_the_same_bits_and_replays_again(run, stop):
    whole, _ = run(Tape())
    saved = []

    def until(state):
        def keep():
            tensors = {n: t.clone() for n, t in state.tensors().items()}
            saved.append((tensors, state.position()))

        return loop.Saving(keep, lambda: state.step >= stop)

    run(Tape(), saving=until)
    resumed, _ = run(Tape(), resume=saved[-1])
    assert resumed.step == 24
    assert same(resumed, whole)


class Replaces(Pruner):
    """Puts gradients of its own in place of those that backward left."""

    def observe(self, params, clock):
        for weight in params.values():
            weight.grad = weight.grad * 0.5


def test_a_pruner_may_put_other_gradients_in_place(run):
    replayed, said = run(Tape(), pruner=lambda *_: Replaces())
    assert said == REPLAYED[:1]
    assert same(replayed, run(eager(), pruner=lambda *_: Replaces())[0])


class Widens(Pruner):
    """Masks one layer first, then both."""

    def __init__(self, model, settings):
        self.masks = [{}, {}]
        for name, kept in fixed(model, settings).kept.items():
            self.masks[0] = self.masks[0] or {name: kept}
            self.masks[1][name] = kept

    def mask(self, params, clock):
        return self.masks[clock.epoch > 2]


def test_a_mask_of_other_weights_is_recorded_anew(run):
    tape = Tape()
    replayed, said = run(tape, pruner=Widens)
    assert said == [*REPLAYED, REPLAYED[1]]
    assert tape.recorded == 3
    assert same(replayed, run(eager(), pruner=Widens)[0])


def test_what_was_recorded_ends_with_the_training(monkeypatch):
    monkeypatch.setattr(loop, "recorder_of", lambda device: Tape())
    recorded = []
    monkeypatch.setattr(loop, "Step", lambda *given: recorded.append(Step(*given)) or recorded[-1])
    data = ImageBatches(images(), CPU, 8)
    state = new_state(network(), SETTINGS, Pruner(), len(data))
    gc.disable()  # what refers to itself would stay
    try:
        loop.train(state, data, SETTINGS, 1)
        step = weakref.ref(recorded.pop())
        assert step() is None
    finally:
        gc.enable()
    assert not state.gradients()


def test_without_graphs_nothing_is_recorded(run, monkeypatch):
    tape = Tape()
    monkeypatch.setattr(loop, "recorder_of", lambda device: tape)
    data = ImageBatches(images(), CPU, 8)
    state = new_state(network(), SETTINGS, Pruner(), len(data))
    loop.train(state, data, SETTINGS, 1, graphs=False)
    assert tape.recorded == 0


def test_a_tape_bakes_in_what_python_computed():
    weight, factor = torch.zeros(2), [2.0]

    def work():
        weight.add_(factor[0])
        return [weight * factor[0]]

    replay, (result,) = Tape().record(work)
    assert not weight.any()  # a recording does nothing
    factor[0] = np.inf
    replay()
    replay()
    assert weight.tolist() == [4.0, 4.0]
    assert result.tolist() == [8.0, 8.0]
