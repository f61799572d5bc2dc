"""A weight that comes back does so as a new one: the optimizer remembers nothing of it."""

from dataclasses import replace

import pytest
import torch

from prunecli.types import Pruner

MOVING = {"density": 0.3, "rate": 0.5, "every": 10, "until": 1.0}
SETTINGS = {"lr": 0.1, "weight_decay": 0.01}


def watched(run, each):
    """Train; `each(name, before, now, held)` is called for every layer in front of every step.

    With the mask of the step before, that of now, and what the optimizer holds.
    """
    last = [run.mask()]

    def look(*_):
        now = run.mask()
        for name, weight in run.state.params.items():
            each(name, last[0][name], now[name], run.state.optimizer.state.get(weight, {}))
        last[0] = now

    run.state.optimizer.register_step_pre_hook(look)
    run.go()


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("pruner", ["rigl", "set"])
def test_no_weight_that_grows_carries_momentum(begin, pruner, optimizer):
    run = begin(pruner, 15, settings=SETTINGS | {"optimizer": optimizer}, **MOVING)
    grown, carrying, others = [0], [0], [0]

    def look(name, before, now, held):
        if torch.equal(before, now):
            return
        new = now & ~before
        grown[0] += int(new.sum())
        for key in held.keys() - {"step"}:
            carrying[0] += int(held[key][new].count_nonzero())
            others[0] += int(held[key][now & before].count_nonzero())

    watched(run, look)
    assert grown[0] > 300
    assert others[0] > 1000  # what stays goes on with what it has
    assert carrying[0] == 0


def test_a_step_after_growth_is_that_of_a_slow_reference(begin):
    """With d = g + decay w: v <- 0.9 v + d, v = 0 for what is new, and w <- w - lr (d + 0.9 v)."""
    run = begin("rigl", 8, settings=SETTINGS | {"schedule": "constant"}, **MOVING)
    momentum = {name: [0.0] * w.numel() for name, w in run.state.params.items()}
    last, expected, grown = [run.mask()], {}, [0]

    def work_out(*_):
        now = run.mask()
        for name, weight in run.state.params.items():
            rows = zip(
                weight.flatten().tolist(), weight.grad.flatten().tolist(),
                last[0][name].flatten().tolist(), now[name].flatten().tolist(), strict=True,
            )  # fmt: skip
            expected[name] = []
            for i, (w, gradient, was, kept) in enumerate(rows):
                if kept and not was:
                    momentum[name][i] = 0.0
                    grown[0] += 1
                g = gradient + 0.01 * w
                momentum[name][i] = 0.9 * momentum[name][i] + g
                expected[name].append(w - 0.1 * (g + 0.9 * momentum[name][i]))
        last[0] = now

    def compare(*_):
        for name, weight in run.state.params.items():
            assert weight.flatten().tolist() == pytest.approx(expected[name], abs=1e-5)

    run.state.optimizer.register_step_pre_hook(work_out)
    run.state.optimizer.register_step_post_hook(compare)
    run.go()
    assert grown[0] > 100


class Turns(Pruner):
    """Keeps the one half, then the other, and says so in `update` alone."""

    def __init__(self, params):
        half = {n: torch.arange(w.numel()).reshape(w.shape) % 2 == 0 for n, w in params.items()}
        self.halves = half, {name: ~kept for name, kept in half.items()}
        self.now = 0

    def update(self, params, clock):
        self.now = 1 - self.now

    def mask(self, params, clock):
        return self.halves[self.now]


def test_a_mask_that_changes_after_the_step_does_the_same(begin):
    run = begin("rigl", 2, density=1.0)
    run.state.pruner = Turns(run.state.params)
    run = replace(run, pruner=run.state.pruner)
    seen = []

    def look(name, before, now, held):
        if held:
            seen.append(int(held["momentum_buffer"][now].count_nonzero()))

    watched(run, look)
    assert len(seen) == 28  # seven more steps, four layers
    assert not any(seen)
