import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prunecli.errors import BadUsage, NotFinite
from prunecli.masks.scopes import SCOPES
from prunecli.masks.select import choose, select
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
    with pytest.raises(BadUsage, match="keeps only 2"):
        select(scores, 0.75)


@pytest.mark.parametrize("scope", ["layer", "uniform", "erk"])
def test_quotas_move_on_when_an_earlier_mask_left_too_little(scope):
    scores = scores_of([-math.inf] * 7 + [1.0], [1.0] * 8)
    mask = select(scores, 0.5, scope)
    assert sum(int(bits.sum()) for bits in mask.values()) == 8
    assert kept(mask)["w0"] == [7]


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
