import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prunecli.errors import BadUsage
from prunecli.models.vgg16 import vgg16
from prunecli.network.layers import prunable
from prunecli.pruners.weightmom import quotas, weightmom
from prunecli.training.state import new_state
from prunecli.types import Clock, Pruner


def epochs_pass(pruner, course, weights, *, first=1):
    """The masks after epochs of one step each, the weights being those given."""
    masks = []
    for epoch, values in enumerate(weights, first):
        for name, weight in course.params.items():
            weight.data.copy_(values[name])
        pruner.update(course.params, Clock(epoch, 1, course.epochs))
        masks.append(pruner.mask(course.params, Clock(epoch, 1, course.epochs)))
    return masks


def draws(shapes, epochs, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return [
        {name: torch.randn(shape, generator=draw) for name, shape in shapes.items()}
        for _ in range(epochs)
    ]


def count(mask):
    return sum(int(kept.sum()) for kept in mask.values())


def kept(mask):
    return mask["w"].nonzero().flatten().tolist()


# Quotas


def by_bisection(sizes, importance, keep):
    """The slow reference: min(W_l, c I_l) with c found by trying."""
    low, high = 0.0, 1e12
    for _ in range(200):
        c = (low + high) / 2
        total = sum(min(size, c * i) for size, i in zip(sizes, importance, strict=True))
        low, high = (c, high) if total < keep else (low, c)
    return [min(size, c * i) for size, i in zip(sizes, importance, strict=True)]


@pytest.fixture(scope="module")
def vgg16_sizes():
    with torch.device("meta"):
        return {name: weight.numel() for name, weight in prunable(vgg16((3, 32, 32), 10)).items()}


def test_vgg16_at_2_per_cent_keeps_early_layers_and_the_classifier_whole(vgg16_sizes):
    """By the paper's own average, the quota falls with the place of a layer alone."""
    keep = round(0.02 * sum(vgg16_sizes.values()))
    quota = quotas(vgg16_sizes, vgg16_sizes, keep, "printed")
    density = [quota[name] / vgg16_sizes[name] for name in vgg16_sizes]
    assert density[:2] == [1.0, 1.0]
    assert density[2:4] == pytest.approx([0.67, 0.25], abs=0.005)
    assert density[-2] == pytest.approx(0.005, abs=0.001)
    assert density[-1] == 1.0
    assert sum(quota.values()) == keep


def test_vgg16_at_2_per_cent_by_the_mean_keeps_less_the_deeper(vgg16_sizes):
    keep = round(0.02 * sum(vgg16_sizes.values()))
    quota = quotas(vgg16_sizes, vgg16_sizes, keep, "mean")
    density = [quota[name] / vgg16_sizes[name] for name in vgg16_sizes]
    assert density[:2] == pytest.approx([0.19, 0.09], abs=0.005)
    assert density[-2:] == pytest.approx([0.014, 0.013], abs=0.0015)
    assert sum(quota.values()) == keep


@pytest.mark.parametrize("importance", ["printed", "mean"])
@pytest.mark.parametrize("density", [0.5, 0.1, 0.05, 0.02])
def test_quotas_are_the_least_of_size_and_a_constant_times_the_importance(
    vgg16_sizes, importance, density
):
    sizes = list(vgg16_sizes.values())
    total, mean = sum(sizes), sum(sizes) / len(sizes)
    important = {
        "printed": [total / place for place in range(1, len(sizes) + 1)],
        "mean": [size / (place * mean) for place, size in enumerate(sizes, 1)],
    }[importance]
    expected = by_bisection(sizes, important, round(density * total))
    quota = quotas(vgg16_sizes, vgg16_sizes, round(density * total), importance)
    assert list(quota.values()) == pytest.approx(expected, abs=1)


def test_where_no_layer_is_kept_whole_printed_quotas_fall_as_one_over_the_place():
    sizes = {"a": 4000, "b": 1000, "c": 9000, "d": 5000}
    # c (1 + 1/2 + 1/3 + 1/4) = 1200 gives c = 576.
    quota = quotas(sizes, sizes, 1200, "printed")
    assert quota == {"a": 576, "b": 288, "c": 192, "d": 144}


def test_by_the_mean_the_density_falls_as_one_over_the_place():
    sizes = {"a": 1200, "b": 2400, "c": 600}
    # c' (1200 + 2400/2 + 600/3) = 260 gives c' = 0.1.
    assert quotas(sizes, sizes, 260, "mean") == {"a": 120, "b": 120, "c": 20}


@given(
    st.lists(st.tuples(st.integers(1, 400), st.floats(0, 1)), min_size=1, max_size=7),
    st.floats(0, 1),
    st.sampled_from(["printed", "mean"]),
)
def test_quotas_add_up_and_leave_no_layer_without_a_weight(layers, share, importance):
    sizes = {str(i): size for i, (size, _) in enumerate(layers)}
    room = {str(i): max(1, round(size * left)) for i, (size, left) in enumerate(layers)}
    keep = len(layers) + round(share * (sum(room.values()) - len(layers)))
    quota = quotas(sizes, room, keep, importance)
    assert sum(quota.values()) == keep
    assert all(1 <= quota[name] <= room[name] for name in room)


SHAPES = {"a": (6, 5), "b": (8, 10), "c": (4, 3, 3, 3), "d": (3, 9)}
TOTAL = 30 + 80 + 108 + 27


@pytest.mark.parametrize("importance", ["printed", "mean", "none"])
@pytest.mark.parametrize(("density", "events"), [(0.1, 3), (0.02, 2), (0.5, 1), (1.0, 2)])
def test_after_event_k_the_density_is_that_power_exactly(course, importance, density, events):
    weights = draws(SHAPES, 4 + 2 * events)
    made = course(weights[0], len(weights))
    pruner = weightmom(
        made, density=density, importance=importance, window=4, every=2, events=events
    )
    masks = epochs_pass(pruner, made, weights)
    expected = [TOTAL] * 3
    for event in range(1, events + 1):
        expected += [round(density ** (event / events) * TOTAL)] * 2
    expected += [expected[-1]] * (len(weights) - len(expected))
    assert [count(mask) for mask in masks] == expected
    if importance != "none":
        assert all(bits.any() for bits in masks[-1].values())
    for before, after in pairwise(masks):
        assert not any((after[name] & ~before[name]).any() for name in SHAPES)


def test_none_ranks_the_weights_of_all_layers_together(course):
    weights = draws(SHAPES, 1)
    weights[0]["b"] *= 100
    made = course(weights[0], 1)
    pruner = weightmom(made, density=0.25, importance="none", window=1, start=1, every=1, events=1)
    [mask] = epochs_pass(pruner, made, weights)
    flat = torch.cat([weights[0][name].abs().flatten() for name in SHAPES])
    bits = torch.cat([mask[name].flatten() for name in SHAPES])
    assert set(bits.nonzero().flatten().tolist()) == set(
        flat.topk(round(0.25 * TOTAL)).indices.tolist()
    )
    assert mask["b"].sum() > 0.9 * round(0.25 * TOTAL)


# Momentum of magnitude


def one(course, momentum, rows, *, keep, window=3):
    """The places kept of one layer, whose weights are the rows, after the last of them."""
    weights = [{"w": torch.tensor(row)} for row in rows]
    made = course(weights[0], len(rows))
    pruner = weightmom(
        made, density=keep / len(rows[0]), momentum=momentum, window=window, start=len(rows),
        every=1, events=1,
    )  # fmt: skip
    return kept(epochs_pass(pruner, made, weights)[-1])


SPIKE = [[0.1, 0.5, -0.5, 0.01], [-0.9, 0.5, -0.5, 0.01], [0.1, 0.5, -0.5, 0.01]]


@pytest.mark.parametrize(
    ("momentum", "places"),
    [("mean", [1, 2]), ("max", [0, 1])],  # means: 0.37, 0.5, 0.5; maxima: 0.9, 0.5, 0.5
)
def test_a_spike_in_the_window_protects_a_weight_under_max_alone(course, momentum, places):
    assert one(course, momentum, SPIKE, keep=2) == places


@pytest.mark.parametrize("momentum", ["mean", "max"])
def test_a_spike_that_left_the_window_protects_no_longer(course, momentum):
    rows = [SPIKE[1], SPIKE[0], SPIKE[0], SPIKE[2]]
    assert one(course, momentum, rows, keep=2) == [1, 2]


def test_signs_do_not_cancel_in_the_window(course):
    rows = [[1.0, 0.3], [-1.0, 0.3], [1.0, 0.3]]
    assert one(course, "mean", rows, keep=1) == [0]


@pytest.mark.parametrize(("rival", "places"), [(3.9, [0]), (4.0, [1])])
def test_ema_is_the_recursion_worked_by_hand(course, rival, places):
    # At a window of 4: m = 8, then 3/4 * 8 + 4/4 = 7, then 5.25, then 3.9375. The mean would be 3.
    rows = [[-8.0, rival], [4.0, rival], [0.0, rival], [0.0, rival]]
    assert one(course, "ema", rows, keep=1, window=4) == places


def by_hand(momentum, window, history):
    """The slow reference: the momentum of one tensor from all its magnitudes so far."""
    if momentum == "mean":
        return sum(history[-window:]) / len(history[-window:])
    if momentum == "max":
        return torch.stack(history[-window:]).amax(0)
    m = history[0]
    for magnitude in history[1:]:
        m = (1 - 1 / window) * m + magnitude / window
    return m


@pytest.mark.parametrize("momentum", ["mean", "max", "ema"])
@pytest.mark.parametrize("window", [1, 3, 12])
def test_masks_are_those_of_a_slow_reference(course, momentum, window):
    """One layer, an event an epoch from the tenth or the window's end on: the ring goes round."""
    epochs, events, total = 18, 6, 60
    first = min(window, 10)
    weights = draws({"w": (12, 5)}, epochs)
    made = course(weights[0], epochs)
    pruner = weightmom(
        made, density=0.2, momentum=momentum, window=window, start=first, every=1, events=events
    )
    masks = epochs_pass(pruner, made, weights)
    left = torch.ones(total, dtype=torch.bool)
    for epoch in range(1, epochs + 1):
        if first <= epoch < first + events:
            history = [row["w"].abs().double().flatten() for row in weights[:epoch]]
            scores = by_hand(momentum, window, history).masked_fill(~left, -math.inf)
            keep = round(0.2 ** ((epoch - first + 1) / events) * total)
            left = torch.zeros(total, dtype=torch.bool)
            left[scores.topk(keep).indices] = True
        assert torch.equal(masks[epoch - 1]["w"].flatten(), left), epoch


@pytest.mark.parametrize("momentum", ["mean", "max", "ema"])
@pytest.mark.parametrize("stop", range(1, 9))
def test_a_run_taken_up_in_the_middle_of_the_window_prunes_the_same(course, momentum, stop):
    def begun():
        made = course(weights[0], 9)
        options = {"window": 4, "start": 4, "every": 2, "events": 3, "momentum": momentum}
        return made, weightmom(made, density=0.1, **options)

    weights = draws(SHAPES, 9)
    made, pruner = begun()
    whole = epochs_pass(pruner, made, weights)
    made, pruner = begun()
    epochs_pass(pruner, made, weights[:stop])
    state = {name: tensor.clone() for name, tensor in pruner.state_dict().items()}
    made, pruner = begun()
    pruner.load_state_dict(state)
    rest = epochs_pass(pruner, made, weights[stop:], first=stop + 1)
    for one_mask, other in zip(whole[stop:], rest, strict=True):
        assert all(torch.equal(one_mask[name], other[name]) for name in SHAPES)


def test_a_window_of_fewer_than_no_epochs_is_refused(course):
    pruner = weightmom(course({"w": [1.0, 2.0]}, 10), density=0.5, window=5)
    with pytest.raises(ValueError, match="negative number of epochs"):
        pruner.load_state_dict(pruner.state_dict() | {"seen": torch.tensor(-1)})


def test_ema_needs_one_copy_of_the_weights_and_the_others_a_windowful(course):
    made = course({"w": torch.ones(7)}, 20)

    def size(momentum):
        state = weightmom(made, density=0.5, momentum=momentum, window=5).state_dict()
        return sum(tensor.numel() for tensor in state.values() if tensor.is_floating_point())

    assert {m: size(m) for m in ("mean", "max", "ema")} == {"mean": 35, "max": 35, "ema": 7}


# A threshold in place of a density


@pytest.mark.parametrize("momentum", [None, "max", "mean", "ema"])
@pytest.mark.parametrize("window", [1, 3, 12])
def test_below_a_threshold_goes_what_a_slow_reference_says(course, momentum, window):
    """Two layers, an event every other epoch: weight by weight, from all of its magnitudes."""
    epochs, first = 18, min(window, 10)
    sizes = {"a": (12, 5), "b": (17,)}
    [scale] = draws(sizes, 1, seed=1)
    weights = [{n: scale[n] * row[n] for n in sizes} for row in draws(sizes, epochs)]
    made = course(weights[0], epochs)
    said = {} if momentum is None else {"momentum": momentum}
    pruner = weightmom(made, threshold=0.8, window=window, start=first, every=2, events=3, **said)
    masks = epochs_pass(pruner, made, weights)
    gone = {name: set() for name in ("a", "b")}
    for epoch in range(1, epochs + 1):
        if epoch in (first, first + 2, first + 4):
            for name, out in gone.items():
                for place in range(weights[0][name].numel()):
                    history = [abs(row[name].flatten()[place].item()) for row in weights[:epoch]]
                    if momentum in (None, "max"):
                        low = all(size < 0.8 for size in history[-window:])
                    else:
                        low = by_hand(momentum, window, torch.tensor(history).double()) < 0.8
                    out |= {place} if low else set()
        for name, out in gone.items():
            assert set((~masks[epoch - 1][name]).flatten().nonzero().flatten().tolist()) == out
    assert all(0 < len(out) < scale[name].numel() for name, out in gone.items())


def test_a_weight_at_the_threshold_stays_and_one_below_goes_for_good(course):
    rows = [[0.5, 0.25, 0.1, 0.1], [0.1, 0.5, 0.1, 0.6], [0.1, 0.1, 9.0, 9.0]]
    weights = [{"w": torch.tensor(row)} for row in rows]
    made = course(weights[0], 3)
    pruner = weightmom(made, threshold=0.5, window=2, start=2, every=1)
    masks = epochs_pass(pruner, made, weights)
    assert [kept(mask) for mask in masks] == [[0, 1, 2, 3], [0, 1, 3], [0, 1, 3]]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "either a density or a threshold"),
        ({"density": 0.1, "threshold": 0.1}, "either a density or a threshold"),
        ({"threshold": 0.0}, "threshold=0"),
        ({"threshold": -1.0}, "threshold=-1"),
        ({"threshold": math.nan}, "threshold=nan"),
        ({"threshold": 0.1, "importance": "mean"}, "importance=mean is for a density"),
    ],
)
def test_there_is_a_density_or_a_threshold(course, options, words):
    with pytest.raises(BadUsage, match=words):
        weightmom(course({"w": torch.ones(100)}, 20), **options)


def test_up_to_its_start_it_trains_as_what_is_not_pruned_to_the_bit(begin):
    """So a training that is pruned late needs no baseline of its own: that is its beginning."""

    def after(epochs, steps, acts=None):
        options = {"density": 0.1, "window": 2, "start": 4, "every": 1}
        run = begin("weightmom", epochs, settings={"schedule": "step", "lr_every": 1}, **options)
        if acts is not None:
            run = replace(run, pruner=acts, state=new_state(run.model, run.settings, acts, 4))
        seen = {}

        def look(step):
            if step == steps:
                seen.update({n: t.clone() for n, t in run.model.state_dict().items()})

        run.go(look)
        return seen

    dense, late = after(4, 12, Pruner()), after(6, 12)
    assert dense.keys() == late.keys()
    assert all(torch.equal(dense[name], late[name]) for name in dense)


# The schedule


def pruned_at(course, epochs, **options):
    """The epochs after which the mask was another one."""
    weights = draws({"w": (400,)}, epochs)
    made = course(weights[0], epochs)
    masks = epochs_pass(weightmom(made, density=0.05, **options), made, weights)
    counts = [400, *map(count, masks)]
    assert counts[-1] == 20
    return [epoch for epoch in range(1, epochs + 1) if counts[epoch] != counts[epoch - 1]]


@pytest.mark.parametrize(
    ("epochs", "options", "at"),
    [
        # From the window's end, every five epochs, as often as fits in three quarters.
        (60, {}, [15, 20, 25, 30, 35, 40, 45]),
        (63, {}, [15, 20, 25, 30, 35, 40, 45]),
        (67, {}, [15, 20, 25, 30, 35, 40, 45, 50]),
        (20, {}, [15]),
        (15, {}, [15]),  # nothing fits, so it is pruned once
        (30, {"start": 10}, [10, 15, 20]),
        (30, {"events": 4}, [15, 20, 25, 30]),
        (8, {"window": 4, "every": 2}, [4, 6]),
        (8, {"window": 4, "every": 2, "start": 5, "events": 2}, [5, 7]),
    ],
)
def test_pruning_takes_place_when_the_schedule_says(course, epochs, options, at):
    assert pruned_at(course, epochs, **options) == at


def test_nothing_happens_but_at_the_ends_of_epochs(course):
    weights = draws({"w": (50,)}, 1)
    made = course(weights[0], 2)
    pruner = weightmom(made, density=0.1, window=1, start=1, every=1, events=2)
    for step in range(1, 9):
        pruner.update(made.params, Clock(step, 4, 2))
        expected = 50 if step < 4 else 16 if step < 8 else 5  # 50 sqrt(0.1) = 15.8
        assert count(pruner.mask(made.params, Clock(step, 4, 2))) == expected


@pytest.mark.parametrize(
    ("epochs", "options", "words"),
    [
        (20, {"window": 21}, "window of 21 epochs is longer than the 20 of training"),
        (0, {}, "longer than the 0 of training"),
        (60, {"start": 9}, "start=9: the window must hold 10 epochs by then"),
        (60, {"start": 3, "window": 4}, "start=3: the window must hold 4 epochs by then"),
        (60, {"start": 0, "window": 1}, "start=0"),
        (60, {"start": -5}, "start=-5"),
        (20, {"start": 21}, "training ends after 20"),
        (20, {"events": 3}, "at the end of epoch 25, but training ends after 20"),
        (20, {"events": 0}, "events"),
        (20, {"events": -1}, "events"),
        (20, {"window": 0}, "window"),
        (20, {"every": 0}, "every"),
        (20, {"every": -1}, "every"),
        (20, {"density": 0.0}, "density=0: it must be above 0 and at most 1"),
        (20, {"density": -0.5}, "density=-0.5"),
        (20, {"density": 1.1}, "density=1.1"),
        (20, {"density": math.nan}, "density=nan"),
        (20, {"density": math.inf}, "density=inf"),
    ],
)
def test_a_schedule_that_does_not_fit_is_refused(course, epochs, options, words):
    with pytest.raises(BadUsage, match=words):
        weightmom(course({"w": torch.ones(100)}, epochs), **{"density": 0.1, **options})


@pytest.mark.parametrize("importance", ["printed", "mean"])
def test_a_density_that_leaves_less_than_a_weight_a_layer_is_refused(course, importance):
    made = course({name: torch.ones(10) for name in "abcd"}, 20)
    with pytest.raises(BadUsage, match="density"):
        weightmom(made, density=0.075, importance=importance)  # three weights for four layers
