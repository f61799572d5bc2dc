"""Steps that cannot be replayed, or not to the same bits: they are computed as ever."""

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from replays import CPU, REPLAYED, SETTINGS, Said, eager, named, network, same
from tape import Recording, Tape
from torch import nn
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from prunecli.runtime.world import World
from prunecli.training.replay import CudaGraphs
from prunecli.training.state import new_state
from prunecli.training.step import Step, _Rates
from prunecli.types import Pruner


def test_what_may_differ_from_step_to_step_is_not_replayed(run):
    _, said = run(Tape(), pruner=named("fixed-bs", density=0.5, least=2))
    assert said[-1] == "steps are not replayed as CUDA graphs: the pruner may change them"


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
        drawn = super().forward(x)
        return drawn if drawn.sum().item() else x


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
    assert said == ["gradients are not replayed as a CUDA graph: a replay gives different bits"]
    assert counting.times == 24 + 1  # the recording is one more
    assert all(torch.isfinite(each).all() for each in state.tensors().values())


def test_where_there_is_no_room_nothing_is_recorded(run):
    tape = Tape(lacking="the GPU lacks the memory to record a step")
    _, said = run(tape)
    assert tape.recorded == 0
    assert said == [f"gradients are not replayed as a CUDA graph: {tape.lacking}"]


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


class Idle(Tape):
    """What gives no results is not done again."""

    def record(self, work):
        replay, results = super().record(work)
        return (replay if results else lambda: None), results


class DrawsOneMore(Tape):
    """Than the work that it replays."""

    def record(self, work):
        replay, results = super().record(work)
        return lambda: (replay(), torch.rand(())), results


@pytest.mark.parametrize(
    ("tape", "said"), [(Idle, [REPLAYED[0], "updates"]), (DrawsOneMore, ["gradients"])]
)
def test_a_replay_that_leaves_another_state_is_not_used(run, tape, said):
    why = "are not replayed as a CUDA graph: a replay gives different bits"
    state, told = run(tape())
    assert told == [*said[:-1], f"{said[-1]} {why}"]
    assert same(state, run(eager())[0])


def test_each_group_of_parameters_finds_its_own_learning_rate():
    groups = [{"lr": 0.5}, {"lr": 0.25}]
    state = SimpleNamespace(optimizer=SimpleNamespace(param_groups=groups), device=CPU)
    rates = _Rates(state, Tape())
    rates.take()
    with rates.on_device():
        assert [group["lr"].item() for group in groups] == [0.5, 0.25]
    assert groups == [{"lr": 0.5}, {"lr": 0.25}]


def test_what_several_processes_share_is_not_replayed():
    said = Said()
    state = new_state(network(), SETTINGS, Pruner(), 6)
    step = Step(state, SETTINGS, 0, World(0, 2), Tape(), said)
    assert not step.slopes.may_replay
    assert said.lines == ["steps are not replayed as CUDA graphs: several processes share them"]
