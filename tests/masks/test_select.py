import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prunecli.errors import BadUsage, NotFinite
from prunecli.masks.scopes import SCOPES, apportion, erk, layer, uniform, water_filled
from prunecli.masks.select import choose, keep_highest, select
from prunecli.masks.select_on_gpu import sorted_out
from prunecli.tensors.parts import PART, in_memory

SHAPES = {"conv1": (8, 3, 3, 3), "conv2": (16, 8, 3, 3), "fc": (10, 64)}
SIZES = {name: math.prod(shape) for name, shape in SHAPES.items()}


def scores_of(*rows):
    return {f"w{i}": torch.tensor(row, dtype=torch.float32) for i, row in enumerate(rows)}


def kept(mask):
    return {name: bits.nonzero().flatten().tolist() for name, bits in mask.items()}


def by_full_sort(scores, keep):
    """The slow reference: sort everything, stably, and take the first."""
    flat = np.concatenate([s.numpy().ravel() for s in scores.values()])
    best = np.argsort(-(flat + 0.0), kind="stable")[:keep]
    chosen = np.zeros(len(flat), dtype=bool)
    chosen[best] = True
    parts = np.split(chosen, np.cumsum([s.numel() for s in scores.values()])[:-1])
    return {n: part.reshape(s.shape) for (n, s), part in zip(scores.items(), parts, strict=True)}


def test_by_hand():
    mask = select(scores_of([0.1, 0.9, 0.5], [0.6, 0.2, 0.8]), density=0.5)
    assert kept(mask) == {"w0": [1], "w1": [0, 2]}


def test_ties_go_to_the_earlier_place():
    assert kept(select(scores_of([1, 1, 1], [1, 1, 1]), 4 / 6)) == {"w0": [0, 1, 2], "w1": [0]}


def test_signed_scores_rank_by_value_not_by_size():
    assert kept(select(scores_of([-3.0, -1.0, 2.0, -0.5]), 0.5)) == {"w0": [2, 3]}


def test_zero_has_no_sign():
    assert kept(select(scores_of([-0.0, 0.0, -0.0, 0.0]), 0.5)) == {"w0": [0, 1]}


@pytest.mark.fault(10)
@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("density", [1.0, 0.5, 1 / 3, 0.1, 1 / 16, 0.01])
@pytest.mark.parametrize("kind", ["normal", "all equal", "half zeros", "tiny", "huge"])
def test_exactly_k_whatever_the_scores(scope, density, kind):
    torch.manual_seed(0)
    make = {
        "normal": torch.randn,
        "all equal": torch.ones,
        "half zeros": lambda s: torch.randn(s).clamp_min(0),
        "tiny": lambda s: torch.randn(s) * 1e-42,
        "huge": lambda s: torch.randn(s) * 1e37,
    }[kind]
    mask = select({name: make(shape) for name, shape in SHAPES.items()}, density, scope)
    assert sum(int(bits.sum()) for bits in mask.values()) == round(density * sum(SIZES.values()))
    assert {name: tuple(bits.shape) for name, bits in mask.items()} == SHAPES


@given(
    st.lists(
        st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1),
        min_size=1,
        max_size=4,
    ),
    st.floats(0.01, 1),
)
def test_agrees_with_a_full_sort(rows, density):
    scores = scores_of(*rows)
    keep = round(density * sum(map(len, rows)))
    if keep == 0:
        with pytest.raises(BadUsage, match="keeps none"):
            select(scores, density)
        return
    mask, reference = select(scores, density), by_full_sort(scores, keep)
    assert all((mask[name].numpy() == reference[name]).all() for name in scores)


@pytest.mark.fault(9)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("scope", SCOPES)
def test_scores_that_are_no_numbers_are_refused_by_name(bad, scope):
    with pytest.raises(NotFinite, match="'w1'"):
        select(scores_of([1, 2], [3, bad]), 0.5, scope)


def test_minus_infinity_means_pruned_earlier():
    scores = scores_of([-math.inf, 1.0, -math.inf, 0.5])
    assert kept(select(scores, 0.5)) == {"w0": [1, 3]}
    with pytest.raises(BadUsage, match="left only 2"):
        select(scores, 0.75)


@pytest.mark.parametrize("scope", ["layer", "uniform", "erk"])
def test_quotas_move_on_when_an_earlier_mask_left_too_little(scope):
    scores = scores_of([-math.inf] * 7 + [1.0], [1.0] * 8)
    mask = select(scores, 0.5, scope)
    assert sum(int(bits.sum()) for bits in mask.values()) == 8
    assert kept(mask)["w0"] == [7]


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


@pytest.mark.parametrize("scope", ["layer", "uniform", "erk"])
def test_pruning_in_rounds_ends_with_the_quotas_of_pruning_at_once(scope):
    """Also where the first tensor has more weights than are to be kept in all."""
    torch.manual_seed(0)
    start = {"a": torch.rand(600), "b": torch.rand(300), "c": torch.rand(100)}
    once = {n: int(bits.sum()) for n, bits in select(start, 0.2, scope).items()}
    scores = start
    for density in (0.9, 0.5, 0.3, 0.2):
        mask = select(scores, density, scope)
        scores = {n: s.masked_fill(~mask[n], -math.inf) for n, s in scores.items()}
    assert {n: int(bits.sum()) for n, bits in mask.items()} == once


def test_selection_reads_lazily_one_tensor_at_a_time():
    class Lazy(dict):
        alive = 0

        def __getitem__(self, name):
            Lazy.alive += 1
            return torch.full((4,), float(name))

        def items(self):
            return ((name, self[name]) for name in self)

    assert kept(select(Lazy({"1": None, "2": None}), 0.5)) == {"1": [], "2": [0, 1, 2, 3]}
    assert Lazy.alive > 2


# More scores than are sampled


WIDE = {"conv": (64, 300, 3, 3), "fc": (400, 300), "last": (10, 720)}  # 300,000
COUNT = sum(map(math.prod, WIDE.values()))


def periodic(period):
    return (torch.arange(COUNT) * 7919 % period).float()


def partly_pruned():
    scores = torch.randn(COUNT)
    return scores.masked_fill(torch.rand(COUNT) < 0.3, -math.inf)


LARGE = {
    "normal": lambda: torch.randn(COUNT),
    "all equal": lambda: torch.full((COUNT,), 0.5),
    "half zeros": lambda: torch.randn(COUNT).clamp_min(0),
    "few values": lambda: torch.randint(-3, 4, (COUNT,)).float(),
    "one high": lambda: torch.zeros(COUNT).index_fill(0, torch.tensor([COUNT - 1]), 1.0),
    "rising": lambda: torch.arange(COUNT).float(),
    "period 2": lambda: periodic(2),
    "period 1024": lambda: periodic(1024),
    "period 65536": lambda: periodic(1 << 16),
    "some pruned": partly_pruned,
}


def shaped(flat):
    parts = torch.split(flat, [math.prod(shape) for shape in WIDE.values()])
    return {name: part.reshape(WIDE[name]) for name, part in zip(WIDE, parts, strict=True)}


def by_full_sorts(scores, keep, scope):
    """As `by_full_sort`, with the number that each tensor keeps given by the scope."""
    if SCOPES[scope] is None:
        return by_full_sort(scores, keep)
    room = {name: int((s > -math.inf).sum()) for name, s in scores.items()}
    quota = SCOPES[scope](WIDE, room, keep)
    assert sum(quota.values()) == keep
    return {n: by_full_sort({n: s}, quota[n])[n] for n, s in scores.items()}


def agree(mask, reference):
    return mask.keys() == reference.keys() and all(
        (mask[name].numpy() == reference[name]).all() for name in mask
    )


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("kind", LARGE)
def test_many_scores_are_selected_as_a_full_sort_does(kind, scope):
    torch.manual_seed(0)
    scores = shaped(LARGE[kind]())
    for density in (0.5, 1 / 64):
        mask = select(scores, density, scope)
        assert agree(mask, by_full_sorts(scores, round(density * COUNT), scope))


@pytest.mark.parametrize("keep", [1, 2, 65_535, 65_536, 65_537, 299_999, 300_000])
def test_the_ends_and_the_number_of_bins_are_no_exceptions(keep):
    assert COUNT == 300_000
    torch.manual_seed(0)
    scores = shaped(LARGE["few values"]() + (torch.rand(COUNT) < 0.5))
    assert agree(select(scores, keep / COUNT), by_full_sort(scores, keep))


@pytest.mark.parametrize("sign", [1, -1])
def test_scores_that_only_their_lower_bits_tell_apart(sign):
    torch.manual_seed(0)
    bits = 0x3F800000 + torch.randint(0, 1 << 16, (5000,), dtype=torch.int32)
    flat = sign * bits.view(torch.float32)
    scores = {"a": flat[:2000].reshape(20, 100), "b": flat[2000:]}
    for keep in (1, 2500, 4999):
        assert agree(select(scores, keep / 5000), by_full_sort(scores, keep))


class Passes:
    """Scores that count how often they are read."""

    def __init__(self, score):
        self.score, self.count = score, 0
        self.shapes = {"w": tuple(score.shape)}

    def parts(self, name, size=PART):
        self.count += 1
        yield from self.score.split(size)


@pytest.mark.parametrize(("dtype", "passes"), [(torch.bfloat16, 1), (torch.float32, 2)])
def test_a_pass_for_each_half_of_the_bits_that_is_in_use(dtype, passes):
    torch.manual_seed(0)
    scores = Passes(torch.rand(1000).to(dtype))
    chosen = choose(scores, 0.3)
    assert scores.count == passes
    assert chosen.cuts["w"].kept == 300
    assert int(in_memory(chosen)["w"].sum()) == 300


@pytest.mark.parametrize("extra", [-1, 0, 1, 5])
@pytest.mark.parametrize("make", ["normal", "few values", "all equal"])
def test_in_parts_as_in_one(make, extra):
    torch.manual_seed(0)
    flat = LARGE[make]()[: PART + extra]
    scores = {"a": flat, "b": flat.flip(0)}
    keep = PART // 3
    assert agree(select(scores, keep / (2 * len(flat))), by_full_sort(scores, keep))


ODD = st.sampled_from([-math.inf, -1.0, -1e-45, -0.0, 0.0, 1e-45, 1.0, 1.0000001, 3e38])


@given(st.lists(st.lists(ODD, min_size=1), min_size=1, max_size=3), st.integers(0, 40))
def test_what_a_gpu_sorts_out_is_the_same(rows, keep):
    scores = scores_of(*rows)
    keep = min(keep, sum(map(len, rows)))
    expected, found = keep_highest(scores, keep), sorted_out(scores, keep)
    assert kept(found) == kept(expected)
    assert sum(int(bits.sum()) for bits in found.values()) == keep


def test_what_a_gpu_sorts_out_is_in_the_order_of_places_not_of_memory():
    torch.manual_seed(0)
    rounded = torch.randint(-3, 3, (8, 4, 3, 3)).float()
    scores = {"a": rounded.to(memory_format=torch.channels_last), "b": rounded.bfloat16()}
    for keep in range(0, 2 * rounded.numel() + 1):
        found, expected = sorted_out(scores, keep), keep_highest(scores, keep)
        assert all(torch.equal(found[name], expected[name]) for name in scores)


@pytest.mark.parametrize("bad", [math.nan, -math.nan, math.inf])
def test_a_gpu_sorts_out_finite_scores_only(bad):
    scores = scores_of([1.0], [0.0, bad])
    for way in (keep_highest, sorted_out):
        with pytest.raises(NotFinite, match="'w1' hold NaN or infinity"):
            way(scores, 1)
