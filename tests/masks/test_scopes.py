import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prunecli.masks.scopes import apportion, erk, layer, uniform, water_filled

SHAPES = {"conv1": (8, 3, 3, 3), "conv2": (16, 8, 3, 3), "fc": (10, 64)}
SIZES = {name: math.prod(shape) for name, shape in SHAPES.items()}


def test_layer_gives_every_tensor_the_same_fraction():
    quota = layer(SHAPES, SIZES, keep=201)
    assert sum(quota.values()) == 201
    fraction = 201 / sum(SIZES.values())
    assert all(abs(quota[n] - fraction * SIZES[n]) < 1 for n in SIZES)


def test_uniform_keeps_the_first_tensor_whole():
    quota = uniform(SHAPES, SIZES, keep=400)
    assert quota["conv1"] == 216
    assert quota["conv2"] + quota["fc"] == 184
    assert quota["conv2"] / 1152 == pytest.approx(quota["fc"] / 640, abs=1e-3)


def test_erk_by_hand():
    # Room for none to be full: shares are in proportion to the sums of the dimensions, 17:30:74.
    assert erk(SHAPES, SIZES, keep=121) == {"conv1": 17, "conv2": 30, "fc": 74}


def test_erk_caps_a_layer_at_its_size_and_spreads_the_rest():
    shapes = {"small": (2, 2), "wide": (100, 100), "wider": (100, 300)}
    room = {"small": 4, "wide": 10_000, "wider": 30_000}
    quota = erk(shapes, room, keep=20_004)
    assert quota["small"] == 4
    assert quota["wide"] + quota["wider"] == 20_000
    assert quota["wide"] / quota["wider"] == pytest.approx(200 / 400, rel=1e-3)


@given(
    st.lists(st.tuples(st.integers(1, 50), st.floats(0, 1)), min_size=1, max_size=6),
    st.floats(0, 1),
)
def test_apportion_adds_up_within_the_rooms(layers, fraction):
    room = {str(i): size for i, (size, _) in enumerate(layers)}
    keep = round(fraction * sum(room.values()))
    shares = {str(i): size * share for i, (size, share) in enumerate(layers)}
    quota = apportion(shares, room, keep)
    assert sum(quota.values()) == keep
    assert all(0 <= quota[name] <= room[name] for name in room)


def test_largest_remainders_come_first_by_hand():
    room = dict.fromkeys("abc", 10)
    assert apportion({"a": 2.5, "b": 3.3, "c": 4.2}, room, 10) == {"a": 3, "b": 3, "c": 4}
    assert apportion({"a": 0.4, "b": 0.3, "c": 0.3}, room, 1) == {"a": 1, "b": 0, "c": 0}
    assert apportion({"a": 0.5, "b": 0.5, "c": 1.0}, room, 2) == {"a": 1, "b": 0, "c": 1}


def test_nothing_is_below_the_least_by_hand():
    room = dict.fromkeys("abc", 10)
    assert apportion({"a": 0.2, "b": 0.3, "c": 9.5}, room, 10, least=1) == {"a": 1, "b": 1, "c": 8}
    assert apportion({"a": 0.0, "b": 0.0, "c": 6.0}, room, 6, least=2) == {"a": 2, "b": 2, "c": 2}


def test_where_it_does_not_suffice_the_least_is_what_all_can_have():
    room = dict.fromkeys("abc", 10)
    assert apportion({"a": 0.0, "b": 0.0, "c": 5.0}, room, 5, least=2) == {"a": 1, "b": 1, "c": 3}
    assert apportion({"a": 0.0, "b": 0.0, "c": 2.0}, room, 2, least=1) == {"a": 0, "b": 0, "c": 2}
    assert apportion({"a": 0.0, "b": 5.0}, {"a": 1, "b": 9}, 5, least=2) == {"a": 1, "b": 4}


layers_with_room = st.lists(
    st.tuples(st.integers(0, 30), st.floats(0, 40)), min_size=1, max_size=6
).filter(lambda layers: any(size for size, _ in layers))


@given(layers_with_room, st.floats(0, 1), st.integers(0, 4))
def test_apportion_leaves_each_the_least_where_there_is_room(layers, fraction, least):
    room = {str(i): size for i, (size, _) in enumerate(layers)}
    keep = round(fraction * sum(room.values()))
    quota = apportion({str(i): share for i, (_, share) in enumerate(layers)}, room, keep, least)
    assert sum(quota.values()) == keep
    due = min(least, keep // len(room))
    assert all(min(due, room[name]) <= quota[name] <= room[name] for name in room)


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 12)), min_size=1, max_size=4),
    st.integers(0, 1),
)
def test_apportion_comes_as_near_the_shares_as_whole_numbers_can(layers, least):
    """Shares in quarters that add up, with room to round up: compared with all there is."""
    rises = [quarter for _, quarter in layers]
    keep = least * len(layers) + sum(whole for whole, _ in layers) + -(-sum(rises) // 4)
    rises[0] += -sum(rises) % 4
    shares = {
        str(i): least + whole + rise / 4
        for i, ((whole, _), rise) in enumerate(zip(layers, rises, strict=True))
    }
    assert sum(shares.values()) == keep
    room = {name: math.ceil(share) for name, share in shares.items()}
    quota = apportion(shares, room, keep, least)
    assert sum(quota.values()) == keep

    def distance(numbers):
        return sum((n - share) ** 2 for n, share in zip(numbers, shares.values(), strict=True))

    around = [range(max(least, math.ceil(s) - 2), math.ceil(s) + 1) for s in shares.values()]
    best = min(distance(numbers) for numbers in itertools.product(*around) if sum(numbers) == keep)
    assert distance(quota.values()) == pytest.approx(best)
    assert all(least <= quota[name] <= room[name] for name in room)


def test_water_fills_by_hand():
    # c = 2 fills the first; c = (10 - 1) / (2 + 1) = 3 divides the rest.
    weight, size = {"a": 3.0, "b": 2.0, "c": 1.0}, {"a": 1, "b": 10, "c": 10}
    assert water_filled(weight, size, 10) == {"a": 1.0, "b": 6.0, "c": 3.0}
    assert water_filled(weight, size, 21) == {"a": 1.0, "b": 10.0, "c": 10.0}
    # Filling one fills the next: c = 20/6, then 19/3, then 9 for the last, and no more.
    assert water_filled(weight, size, 20) == {"a": 1.0, "b": 10.0, "c": 9.0}


vessels = st.lists(st.tuples(st.floats(0.01, 100), st.integers(1, 500)), min_size=1, max_size=6)


def vessel(layers):
    weight = {str(i): w for i, (w, _) in enumerate(layers)}
    return weight, {str(i): size for i, (_, size) in enumerate(layers)}


@given(vessels, st.floats(0, 1))
def test_water_finds_the_level_that_a_slow_search_finds(layers, fraction):
    weight, size = vessel(layers)
    keep = round(fraction * sum(size.values()))
    low, high = 0.0, max(size[name] / weight[name] for name in size)
    for _ in range(200):
        level = (low + high) / 2
        total = sum(min(size[name], level * weight[name]) for name in size)
        low, high = (level, high) if total < keep else (low, level)
    expected = {name: min(float(size[name]), high * weight[name]) for name in size}
    filled = water_filled(weight, size, keep)
    assert filled == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert list(filled) == list(size)
    assert sum(filled.values()) == pytest.approx(keep, rel=1e-12, abs=1e-12)
    assert all(0 <= filled[name] <= size[name] for name in size)


@given(vessels, st.floats(0, 1), st.floats(0, 1))
def test_more_water_stands_nowhere_lower(layers, one, two):
    weight, size = vessel(layers)
    total = sum(size.values())
    low, high = (
        water_filled(weight, size, round(fraction * total)) for fraction in sorted((one, two))
    )
    assert all(low[name] <= high[name] + 1e-9 for name in size)


def test_water_depends_on_the_weights_proportions_alone():
    weight, size = {"a": 3.0, "b": 2.0, "c": 1.0}, {"a": 5, "b": 30, "c": 10}
    scaled = {name: 1000 * w for name, w in weight.items()}
    assert water_filled(scaled, size, 20) == pytest.approx(water_filled(weight, size, 20))
