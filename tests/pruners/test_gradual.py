import math

import pytest
import torch

from prunecli.errors import BadUsage
from prunecli.masks.scopes import SCOPES
from prunecli.plugins.names import names
from prunecli.pruners.gradual import gradual
from prunecli.types import Clock


class Asked:
    """Scores by magnitude, and remembers how it was asked."""

    def __init__(self):
        self.params, self.calls = {}, []

    def __call__(self, method, mask):
        kept = {name: bits.clone() for name, bits in mask.items()}
        self.calls.append((method, kept))
        return {name: weight.detach().abs() for name, weight in self.params.items()}


@pytest.fixture
def begun(course):
    """`begun(weights, epochs, **options)`: the pruner, its weights and what it asks for."""

    def make(weights, epochs, **options):
        asked = Asked()
        made = course(weights, epochs, score=asked)
        asked.params.update(made.params)
        return gradual(made, **options), made.params, asked

    return make


def counts(pruner, params, epochs, steps_per_epoch):
    """The weights kept after every step."""
    left = []
    for step in range(1, epochs * steps_per_epoch + 1):
        clock = Clock(step, steps_per_epoch, epochs)
        pruner.update(params, clock)
        left.append(sum(int(kept.sum()) for kept in pruner.mask(params, clock).values()))
    return left


def changes(left, whole):
    return {
        step: now
        for step, (before, now) in enumerate(zip([whole, *left], left, strict=False), 1)
        if now != before
    }


def weights(*sizes, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return {f"w{i}": torch.randn(size, generator=draw) for i, size in enumerate(sizes)}


# The schedule


def test_the_cubic_worked_by_hand(begun):
    pruner, params, _ = begun(weights(6000, 4000), 4, density=0.2, start=0.5, end=3, every=5)
    # From step 5 to step 30; after a fifth of that 0.8 (1 - 0.8^3) = 0.3904 is gone, and so on.
    assert changes(counts(pruner, params, 4, 10), 10_000) == {
        10: 6096, 15: 3728, 20: 2512, 25: 2064, 30: 2000,
    }  # fmt: skip


def test_it_ends_where_it_should_even_between_two_events(begun):
    pruner, params, _ = begun(weights(1000), 2, density=0.1, start=0, end=1, every=4)
    # Steps 4 and 8 of 10, then 10: 0.9 (1 - 0.6^3) = 0.7056, 0.9 (1 - 0.2^3) = 0.8928, 0.9.
    assert changes(counts(pruner, params, 2, 10), 1000) == {4: 294, 8: 107, 10: 100}


def test_without_an_end_it_takes_three_quarters_of_the_training(begun):
    pruner, params, _ = begun(weights(1000), 8, density=0.5, every=1000)
    assert changes(counts(pruner, params, 8, 10), 1000) == {60: 500}


@pytest.mark.parametrize(
    ("steps", "events"),
    [
        (10, range(1, 11)),
        (75, range(3, 76, 3)),
        (500, range(25, 501, 25)),
        (4000, range(100, 4001, 100)),
        (2150, [*range(100, 2101, 100), 2150]),
    ],
)
def test_unless_told_otherwise_it_takes_place_20_times_or_every_100_steps(begun, steps, events):
    pruner, params, asked = begun(weights(10), 1, density=0.1, end=1)
    at = []
    for step in range(1, steps + 1):
        before = len(asked.calls)
        pruner.update(params, Clock(step, steps, 1))
        if len(asked.calls) > before:
            at.append(step)
    assert at == [*events]


def test_every_step_from_the_first_on(begun):
    pruner, params, _ = begun(weights(1000), 1, density=0.1, end=1, every=1)
    left = counts(pruner, params, 1, 5)
    assert left == [round(1000 - 900 * (1 - (1 - t / 5) ** 3)) for t in range(1, 6)]
    assert left[-1] == 100


@pytest.mark.parametrize(
    ("options", "at"),
    [
        ({"start": 0, "end": 0.01}, 1),  # both before the first step's end
        ({"start": 1, "end": 1.01}, 4),
        ({"start": 0.4, "end": 0.45}, 2),
        ({"start": 1.9, "end": 2}, 6),
    ],
)
def test_a_schedule_shorter_than_a_step_reaches_its_density_all_the_same(begun, options, at):
    pruner, params, _ = begun(weights(100), 2, density=0.3, every=1, **options)
    left = counts(pruner, params, 2, 3)
    assert left[-1] == 30
    assert abs(next(step for step, now in enumerate(left, 1) if now < 100) - at) <= 1


@pytest.mark.parametrize("density", [0.1, 0.3, 0.7, 0.9])
@pytest.mark.parametrize("total", [15, 25, 35, 45])
def test_the_number_kept_at_last_is_that_of_the_density_to_the_weight(begun, density, total):
    """Where density * total ends in one half, a rounding error of the schedule would show."""
    pruner, params, _ = begun(weights(total), 1, density=density, end=1, every=2)
    assert counts(pruner, params, 1, 4)[-1] == round(density * total)


def test_a_density_of_1_prunes_nothing(begun):
    pruner, params, _ = begun(weights(100), 2, density=1.0, every=1)
    assert set(counts(pruner, params, 2, 5)) == {100}


# What goes


def test_the_lowest_go_and_what_went_stays_away(begun):
    pruner, params, asked = begun({"a": torch.arange(1.0, 11.0)}, 1, density=0.2, end=1, every=1)
    for step, kept in [(1, range(5, 10)), (2, range(7, 10)), (3, range(8, 10))]:
        # 10 (1 - 0.8 (1 - (2/3)^3)) = 4.37 are kept first, then 2.3, then 2.
        expected = [*kept][-[4, 2, 2][step - 1] :]
        pruner.update(params, Clock(step, 3, 1))
        mask = pruner.mask(params, Clock(step, 3, 1))
        assert mask["a"].nonzero().flatten().tolist() == expected
        params["a"].data[0] = 99.0  # a pruned weight that came to be large by whatever means
    assert [kept["a"].sum().item() for _, kept in asked.calls] == [10, 4, 2]


def test_scores_are_asked_for_at_events_alone_with_the_mask_so_far(begun):
    pruner, params, asked = begun(weights(50, 30), 2, density=0.5, end=2, every=4, method="lamp")
    counts(pruner, params, 2, 6)
    assert [method for method, _ in asked.calls] == ["lamp"] * 3  # after steps 4, 8 and 12


@pytest.mark.parametrize("scope", SCOPES)
def test_the_scope_says_how_many_each_layer_keeps(begun, scope):
    start = weights(600, 400)
    start["w1"] += 100
    pruner, params, _ = begun(start, 1, density=0.2, end=1, every=2, scope=scope)
    assert counts(pruner, params, 1, 4)[-1] == 200
    kept = {n: int(bits.sum()) for n, bits in pruner.mask(params, Clock(4, 4, 1)).items()}
    # 300 weights are left first, then 200. Erdos-Renyi shares of vectors are as their lengths, and
    # the first layer has more weights than may be kept, so that `uniform` cannot keep it whole.
    assert kept == ({"w0": 0, "w1": 200} if scope == "global" else {"w0": 120, "w1": 80})


@pytest.mark.parametrize("method", names("scorers"))
def test_any_scorer_serves(begin, method):
    run = begin("gradual", 1, density=0.25, method=method, end=1.0, every=2)
    masks = []
    run.go(lambda step: masks.append(run.mask()))
    assert [sum(int(kept.sum()) for kept in mask.values()) for mask in masks] == [
        1340, 461, 461, 335,
    ]  # fmt: skip  # 1340 (1 - 0.75 (1 - 0.5^3)) = 460.6
    assert not any((masks[3][name] & ~masks[1][name]).any() for name in masks[1])
    assert run.state.step == 4
    assert math.isfinite(run.state.history[0]["loss"])


def test_scoring_in_between_leaves_no_trace_in_the_training(begin):
    """At a density of 1 the network is scored again and again, and trained as if it were not."""
    plain, scored = (
        begin("gradual", 2, density=1.0, method="snip", end=2.0, every=every) for every in (1000, 1)
    )
    for run in (plain, scored):
        run.go()
    one, two = plain.model.state_dict(), scored.model.state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)


# Refusals


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"density": 0.0}, "density=0: it must be above 0 and at most 1"),
        ({"density": -1.0}, "density=-1"),
        ({"density": 1.01}, "density=1.01"),
        ({"density": math.nan}, "density=nan"),
        ({"scope": "gobal"}, "scope='gobal': it must be one of global, layer"),
        ({"method": "magnitud"}, "no method 'magnitud'; did you mean 'magnitude'?"),
        ({"start": -1.0}, "from epoch -1"),
        ({"start": 3.0}, "from epoch 3 to 3"),
        ({"start": 3.5}, "from epoch 3.5 to 3"),
        ({"start": math.nan}, "nan"),
        ({"end": 4.1}, "to 4.1 does not fit into 4 epochs"),
        ({"end": 0.0}, "from epoch 0 to 0"),
        ({"end": math.nan}, "nan"),
        ({"start": 2.0, "end": 1.0}, "from epoch 2 to 1"),
        ({"every": 0}, "every=0"),
        ({"every": -3}, "every=-3"),
    ],
)
def test_what_cannot_be_is_refused_before_the_training(begun, options, words):
    with pytest.raises(BadUsage, match=words):
        begun(weights(100), 4, **{"density": 0.1, **options})


def test_no_epochs_are_too_few(begun):
    with pytest.raises(BadUsage, match="does not fit into 0 epochs"):
        begun(weights(100), 0, density=0.1)
