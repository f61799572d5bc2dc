"""Steps that are replayed, on a tape in place of a GPU's graphs, against steps that are not."""

import gc
import random
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from tape import Recording, Tape
from torch import nn
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from prunecli import registry
from prunecli.batches import ImageBatches
from prunecli.pruners import _straight, adaptive
from prunecli.pruners._fixed import Fixed
from prunecli.steps._course import TrainingSet, build_pruner
from prunecli.training import loop
from prunecli.training.replay import CudaGraphs
from prunecli.training.settings import OPTIMIZERS, SCHEDULES, Settings
from prunecli.training.state import new_state
from prunecli.training.step import Step
from prunecli.types import Images, Progress, Pruner

CPU = torch.device("cpu")
SETTINGS = Settings(epochs=4, batch_size=8, lr=0.05, precision="fp32", lr_every=1)


def images(count=43):
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 6, 6, 1), generator=draw, dtype=torch.uint8)
    labels = torch.randint(0, 4, (count,), generator=draw)
    return Images(pixels, labels, list("abcd"), [0.5], [0.25], pad=1, flip=True)


def network(middle=None):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), middle or nn.Dropout(), nn.Flatten(),
        nn.Linear(128, 4),
    ).to(memory_format=torch.channels_last)  # fmt: skip


class Said(Progress):
    def __init__(self):
        self.lines = []

    def detail(self, message):
        self.lines.append(message)


@pytest.fixture
def run(monkeypatch):
    """Trains, with `tape` in place of a GPU's graphs. Gives the state, and what was said."""

    def train(tape, settings=SETTINGS, pruner=None, middle=None, resume=None, saving=None):
        monkeypatch.setattr(loop, "recorder_of", lambda device: tape)
        model, said = network(middle), Said()
        data = ImageBatches(images(), CPU, settings.batch_size)
        made = pruner(model, settings) if pruner else Pruner()
        state = new_state(model, settings, made, len(data))
        if resume:
            state.restore(*resume)
        try:
            loop.train(state, data, settings, 1, progress=said, saving=saving and saving(state))
        except KeyboardInterrupt:
            assert saving
        return state, said.lines

    return train


def eager():
    """What never replays anything, but finds the learning rate where a recording would."""
    return Tape(lacking="it is not to")


def same(one, two):
    ours, theirs = one.tensors(), two.tensors()
    assert ours.keys() == theirs.keys()
    assert one.facts() == two.facts()
    return all(torch.equal(value, theirs[name]) for name, value in ours.items())


REPLAYED = [
    "gradients are replayed as a CUDA graph from here on",
    "updates are replayed as a CUDA graph from here on",
]
# Of 4 epochs of 5 batches of 8 and one of 3. The first 3 times and when it is recorded, which it
# replays once, a half is done as ever, and the updates are counted from there on.
WHOLE = 4 * 5
REPLAYS = (WHOLE - 3) + (WHOLE - 6)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_replayed_steps_come_to_the_same_bits(run, optimizer, schedule):
    settings = replace(SETTINGS, optimizer=optimizer, schedule=schedule, lr=0.01)
    tape = Tape()
    replayed, said = run(tape, settings)
    assert said == REPLAYED
    assert tape.replays == REPLAYS
    assert same(replayed, run(eager(), settings)[0])


def fixed(model, settings):
    draw = torch.Generator().manual_seed(5)
    names = {n: w for n, w in model.named_parameters() if w.ndim > 1}
    return Fixed({n: torch.rand(w.shape, generator=draw) > 0.5 for n, w in names.items()})


def named(name, **options):
    def build(model, settings):
        return build_pruner(name, options, model, TrainingSet(images(), CPU, 0), settings.epochs)

    return build


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
    steady = set(registry.names("pruners")) - {"fixed-bs", "n2nskip"}
    assert steady <= set(PRUNERS)


def test_what_may_differ_from_step_to_step_is_not_replayed(run):
    _, said = run(Tape(), pruner=named("fixed-bs", density=0.5, least=2))
    assert said[-1] == "steps are not replayed as CUDA graphs: the pruner may change them"


@pytest.mark.parametrize("stop", [1, 3, 4, 6, 8, 12, 17, 23])
def test_a_run_that_was_stopped_goes_on_to_the_same_bits_and_replays_again(run, stop):
    whole, _ = run(Tape())
    saved = []

    def until(state):
        def keep():
            tensors = {n: t.clone() for n, t in state.tensors().items()}
            saved.append((tensors, state.facts()))

        return loop.Saving(keep, lambda: state.step >= stop)

    run(Tape(), saving=until)
    resumed, _ = run(Tape(), resume=saved[-1])
    assert resumed.step == 24
    assert same(resumed, whole)


class Waits(nn.Module):
    def forward(self, x):
        return x * (2.0 if x.sum().item() > 0 else 3.0)


class Draws(nn.Module):
    def forward(self, x):
        return x * random.random()


class Counts(nn.Module):
    """Does something else every time, by a number that a recording does not see."""

    times = 0

    def forward(self, x):
        self.times += 1
        return x * self.times


class Fails(nn.Module):
    """Cannot be recorded, for a reason of its own."""

    def forward(self, x):
        if any(isinstance(mode, Recording) for mode in _get_current_dispatch_mode_stack()):
            raise RuntimeError("operation would make the legacy stream depend on it")
        return x


def seeded(middle):
    random.seed(0)
    return middle()


class DrawsAndWaits(Draws):
    def forward(self, x):
        return super().forward(x) if x.sum().item() else x


class Reassigns(nn.Module):
    """Counts in a buffer that is another tensor every time."""

    def __init__(self):
        super().__init__()
        self.register_buffer("times", torch.zeros(()))

    def forward(self, x):
        self.times = self.times + 1
        return x


class Elsewhere(Tape):
    def elsewhere(self):
        return (random.getstate(),)

    def set_elsewhere(self, state):
        random.setstate(*state)


@pytest.mark.parametrize(
    ("middle", "why"),
    [
        (Waits, "Mismatch: the network cannot be trained (RuntimeError: operation not permitted"),
        (Draws, "the network draws random numbers on the CPU"),
        (DrawsAndWaits, "Mismatch: the network cannot be trained (RuntimeError: operation not"),
        (Reassigns, "the network puts other tensors in place of its buffers"),
        (Fails, "Mismatch: the network cannot be trained (RuntimeError: operation would make"),
    ],
)
def test_what_cannot_be_recorded_is_computed_as_ever(run, middle, why):
    told, said = run(Elsewhere(), middle=seeded(middle))
    assert len(said) == 1
    assert said[0].startswith(f"gradients are not replayed as a CUDA graph: {why}")
    assert same(told, run(eager(), middle=seeded(middle))[0])


def test_a_replay_that_comes_to_other_bits_is_not_used(run):
    counting = Counts()
    state, said = run(Tape(), middle=counting)
    assert said == [
        "gradients are not replayed as a CUDA graph: a replay does not come to the same bits"
    ]
    assert counting.times == 24 + 1  # the recording is one more
    assert all(torch.isfinite(each).all() for each in state.tensors().values())


def test_where_there_is_no_room_nothing_is_recorded(run):
    tape = Tape(lacking="the GPU has no room for a step's memory twice")
    _, said = run(tape)
    assert tape.recorded == 0
    assert said == [f"gradients are not replayed as a CUDA graph: {tape.lacking}"]


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


def test_random_numbers_elsewhere_go_on_from_where_they_were():
    graphs = CudaGraphs(CPU)
    before = graphs.elsewhere()
    assert graphs.elsewhere() == before
    drawn = []
    for draw in (random.random, np.random.rand, lambda: torch.rand(()).item()):
        value = draw()
        assert graphs.elsewhere() != before
        graphs.set_elsewhere(before)
        assert graphs.elsewhere() == before
        drawn.append(value == draw())
        graphs.set_elsewhere(before)
    assert all(drawn)


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
