"""`rigl` and `set`: sparse networks whose connections move."""

import math

import pytest
import torch

from prunecli.errors import BadUsage
from prunecli.masks.scopes import SCOPES, erk
from prunecli.network.layers import prunable
from prunecli.pruners.rigl import rigl
from prunecli.pruners.set import set as evolve
from prunecli.types import Clock

PRUNERS = {"rigl": rigl, "set": evolve}


@pytest.fixture
def begun(course):
    """`begun(pruner, weights, first, **options)`: with `first` as the random scores at the start.

    What the first mask excludes is zero, as the training loop would have it.
    """

    def make(name, weights, first, *, epochs=1, seed=0, **options):
        def score(method, mask):
            assert (method, mask) == ("random", {})
            return {n: torch.as_tensor(s, dtype=torch.float32) for n, s in first.items()}

        made = course(weights, epochs, seed=seed, score=score)
        pruner = PRUNERS[name](made, **options)
        zero(pruner, made.params)
        return pruner, made.params

    return make


def zero(pruner, params):
    for name, kept in mask_of(pruner, params).items():
        params[name].data[~kept] = 0.0


def mask_of(pruner, params):
    return pruner.mask(params, Clock(1, 1, 1))


def observe(pruner, params, gradients, step, steps=100):
    """Step `step` of an epoch of `steps`; gives the places kept then."""
    for name, gradient in gradients.items():
        params[name].grad = torch.as_tensor(gradient, dtype=torch.float32).clone()
    pruner.observe(params, Clock(step, steps, 1))
    return {n: kept.nonzero().flatten().tolist() for n, kept in mask_of(pruner, params).items()}


FIRST = {"w": [8, 7, 6, 5, 4, 3, 2, 1]}  # the first four are kept at a density of one half
WEIGHTS = {"w": [-0.9, 0.1, 0.4, -0.2, 5.0, 5.0, 5.0, 5.0]}
HALF = {"density": 0.5, "scope": "layer", "every": 50, "until": 1.0}


# What moves


def test_the_smallest_drop_and_those_of_the_steepest_gradient_grow(begun):
    pruner, params = begun("rigl", WEIGHTS, FIRST, rate=1.0, **HALF)
    assert mask_of(pruner, params)["w"].tolist() == [True] * 4 + [False] * 4
    gradient = [9.0, 0.0, 9.0, 0.0, 0.1, -3.0, 2.0, 0.2]
    # Half-way f = 1/2 (1 + cos(pi / 2)) = 1/2: of four, the two of |w| = 0.1 and 0.2 drop.
    assert observe(pruner, params, {"w": gradient}, 50) == {"w": [0, 2, 5, 6]}


def test_a_weight_that_drops_may_grow_again_where_its_gradient_is_the_steepest(begun):
    pruner, params = begun("rigl", WEIGHTS, FIRST, rate=1.0, **HALF)
    gradient = [0.0, 8.0, 0.0, 0.0, 0.0, 7.0, 0.0, 0.0]
    assert observe(pruner, params, {"w": gradient}, 50) == {"w": [0, 1, 2, 5]}


def test_what_grows_starts_at_zero_and_what_stays_is_not_touched(begun):
    pruner, params = begun("rigl", WEIGHTS, FIRST, rate=1.0, **HALF)
    observe(pruner, params, {"w": [0.0, 0.0, 0.0, 0.0, 0.0, 3.0, 2.0, 0.0]}, 50)
    zero(pruner, params)
    assert params["w"].tolist() == pytest.approx([-0.9, 0, 0.4, 0, 0, 0, 0, 0])


def test_in_a_training_what_grows_starts_at_zero(begin):
    """Seen between the pruner and the optimizer, which may move it at once."""
    run = begin("rigl", 3, density=0.3, rate=0.5, every=2, until=1.0)
    grown = []
    inner = run.pruner.observe

    def watched(params, clock):
        before = run.mask()
        inner(params, clock)
        for name, kept in run.mask().items():
            new = kept & ~before[name]
            grown.append(int(new.sum()))
            assert not params[name].detach()[new].any()

    run.pruner.observe = watched
    run.go()
    assert sum(grown) > 100


def test_gradients_of_the_pruned_are_zero_and_of_the_kept_as_they_were(begun):
    pruner, params = begun("rigl", WEIGHTS, FIRST, rate=1.0, **HALF)
    gradient = [9.0, 1.0, 9.0, 1.0, 0.1, -3.0, 2.0, 0.2]
    observe(pruner, params, {"w": gradient}, 49)
    assert params["w"].grad.tolist() == [9, 1, 9, 1, 0, 0, 0, 0]
    observe(pruner, params, {"w": gradient}, 50)
    assert params["w"].grad.tolist() == [9, 0, 9, 0, 0, -3, 2, 0]


@pytest.mark.parametrize("name", PRUNERS)
def test_no_more_move_than_there_are_free_places(begun, name):
    first = {"w": list(range(10, 0, -1))}
    weights = {"w": [0.1 * i for i in range(1, 11)]}
    pruner, params = begun(name, weights, first, density=0.8, scope="layer", every=1, rate=1.0)
    kept = observe(pruner, params, {"w": [0.0] * 8 + [1.0, 2.0]}, 1)["w"]
    assert len(kept) == 8
    assert {2, 3, 4, 5, 6, 7} <= {*kept}  # of eight kept only the two smallest could go


@pytest.mark.parametrize("name", PRUNERS)
def test_a_whole_layer_stays_whole(begun, name):
    pruner, params = begun(name, WEIGHTS, FIRST, density=1.0, every=1)
    assert observe(pruner, params, {"w": [1.0] * 8}, 1) == {"w": list(range(8))}


# How many move, and when


def moved(begun, name, events, *, steps=1000, kept=1000, **options):
    """How many of `kept` weights drop at each step of an event, with others that grow for them.

    Gradients are steep where nothing is kept, so that nothing grows that just dropped.
    """
    size = 4 * kept
    first = {"w": torch.arange(size, 0, -1)}
    pruner, params = begun(
        name, {"w": torch.rand(size) + 1}, first, density=0.25, scope="layer", **options
    )
    counts = []
    for step in events:
        before = mask_of(pruner, params)["w"]
        params["w"].data[before & (params["w"] == 0)] = 1.5  # what grew has trained meanwhile
        observe(pruner, params, {"w": (~before).float()}, step, steps)
        after = mask_of(pruner, params)["w"]
        assert int(after.sum()) == kept
        zero(pruner, params)
        counts.append(int((before & ~after).sum()))
    return counts


def test_rigls_fraction_falls_along_half_a_cosine(begun):
    events = [10, 200, 250, 500, 600, 750, 999]
    counts = moved(begun, "rigl", events, rate=0.3, every=1, until=1.0)
    by_hand = [0.15 * (1 + math.cos(math.pi * step / 1000)) for step in events]
    assert counts == [round(1000 * f) for f in by_hand]
    assert counts[3] == 150
    assert counts[0] == 300
    assert counts[-1] == 0


def test_rigls_cosine_ends_where_it_is_told(begun):
    # T = 3/4 of 1000 steps: at 375 half the rate, at 500 a quarter, from 750 on nothing.
    counts = moved(begun, "rigl", [375, 500, 749, 750, 751, 1000], rate=0.4, every=1)
    assert counts == [200, 100, 0, 0, 0, 0]


def test_what_does_not_divide_evenly_is_rounded(begun):
    # 0.3 / 2 (1 + cos(pi / 2)) of 10 = 1.5, halves to even; of 13 = 1.95.
    assert moved(begun, "rigl", [500], kept=10, rate=0.3, every=1, until=1.0) == [2]
    assert moved(begun, "rigl", [500], kept=13, rate=0.3, every=1, until=1.0) == [2]
    assert moved(begun, "rigl", [500], kept=9, rate=0.3, every=1, until=1.0) == [1]


@pytest.mark.parametrize("name", PRUNERS)
def test_it_takes_place_every_so_many_steps_until_it_ends(begun, name):
    pruner, params = begun(
        name, {"w": torch.rand(400) + 1}, {"w": torch.arange(400)}, density=0.5, scope="layer",
        every=7, until=0.35,
    )  # fmt: skip
    steps = []
    for step in range(1, 101):
        before = mask_of(pruner, params)
        observe(pruner, params, {"w": torch.rand(400)}, step)
        if mask_of(pruner, params) is not before:
            steps.append(step)
    assert steps == [7, 14, 21, 28]  # the 35th is at the end already


@pytest.mark.parametrize(
    ("name", "steps", "first", "last"),
    # Up to 3/4 of the training for rigl, to its end for set: a twentieth of that, or 100 steps.
    [("rigl", 16, 1, 11), ("rigl", 800, 30, 570), ("rigl", 4000, 100, 2900),
     ("set", 40, 2, 38), ("set", 400, 20, 380), ("set", 3000, 100, 2900)],
)  # fmt: skip
def test_unless_told_otherwise_it_takes_place_20_times_or_every_100_steps(
    begun, name, steps, first, last
):
    pruner, params = begun(name, WEIGHTS, FIRST, density=0.5)
    at = []
    for step in range(1, steps + 1):
        before = mask_of(pruner, params)
        observe(pruner, params, {"w": [1.0] * 8}, step, steps)
        if mask_of(pruner, params) is not before:
            at.append(step)
    assert at == list(range(first, last + 1, first))


def test_set_moves_the_same_fraction_every_time(begun):
    """As many grow as drop, at random places: of them some are where one has just dropped."""
    first = {"w": torch.arange(4000, 0, -1)}
    pruner, params = begun(
        "set", {"w": torch.rand(4000) + 1}, first, density=0.25, scope="layer", rate=0.3, every=1
    )
    for step in (1, 500, 999):
        before, magnitude = mask_of(pruner, params)["w"], params["w"].detach().abs()
        observe(pruner, params, {"w": torch.zeros(4000)}, step, 1000)
        after = mask_of(pruner, params)["w"]
        assert int(after.sum()) == 1000
        strong = torch.zeros(4000, dtype=torch.bool)
        strong[magnitude.masked_fill(~before, -1).topk(700).indices] = True
        assert after[strong].all()
        # 300 places of 3300, of which 300 had just dropped: 27 come back, give or take 5.
        assert 5 < int((after & before & ~strong).sum()) < 55
        zero(pruner, params)
        params["w"].data[after & (params["w"] == 0)] = 0.5


# How set grows


def grown(begun, seed=0, step=1, gradient=1.0, names=("w",)):
    size = 1000
    pruner, params = begun(
        "set", {n: torch.linspace(1, 2, size) for n in names},
        {n: torch.arange(size, 0, -1) for n in names},
        seed=seed, density=0.5, scope="layer", rate=0.5, every=1,
    )  # fmt: skip
    observe(pruner, params, {n: torch.arange(size) * gradient for n in names}, step)
    return {n: kept.nonzero().flatten().tolist() for n, kept in mask_of(pruner, params).items()}


def test_set_grows_as_the_seed_and_the_step_say_and_not_the_gradient(begun):
    assert grown(begun) == grown(begun) == grown(begun, gradient=-3.0)
    assert grown(begun, seed=1) != grown(begun)
    assert grown(begun, step=2) != grown(begun)


def test_set_grows_elsewhere_in_every_layer(begun):
    places = grown(begun, names=("a", "b"))
    assert places["a"] != places["b"]


def test_set_grows_anywhere_with_the_same_chance(begun):
    """250 of the 750 places where no strong weight is: a third of each 250."""
    kept = grown(begun)["w"]
    weak = [place for place in kept if not 250 <= place < 500]  # the strong: later, so larger
    assert len(weak) == 250
    thirds = [sum(low <= place < high for place in weak) for low, high in
              ((0, 250), (500, 750), (750, 1000))]  # fmt: skip
    assert thirds == pytest.approx([83.3] * 3, abs=30)  # four deviations of 7.5


def test_set_leaves_other_random_numbers_alone(begun):
    random = torch.get_rng_state()
    grown(begun)
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("name", PRUNERS)
def test_a_seed_gives_one_network_and_another_seed_another(begin, name):
    def trained(seed):
        run = begin(name, 2, seed=seed, density=0.3, every=3)
        first = run.mask()
        run.go()
        return first, run.mask()

    def same(one, two):
        return all(torch.equal(one[n], two[n]) for n in one)

    (first, last), (again_first, again_last) = trained(0), trained(0)
    assert same(first, again_first)
    assert same(last, again_last)
    assert not same(first, last)
    other_first, other_last = trained(1)
    assert not same(first, other_first)
    assert not same(last, other_last)


# How many each layer has


@pytest.mark.parametrize("name", PRUNERS)
@pytest.mark.parametrize("scope", SCOPES)
def test_the_number_in_each_layer_stays_as_it_was_allotted(begin, name, scope):
    run = begin(name, 3, density=0.3, scope=scope, rate=0.5, every=1, until=1.0)
    shapes = {n: tuple(w.shape) for n, w in prunable(run.model).items()}
    sizes = {n: w.numel() for n, w in prunable(run.model).items()}
    start = {n: int(kept.sum()) for n, kept in run.mask().items()}
    assert sum(start.values()) == 402
    allocate = SCOPES[scope]
    if allocate is not None:
        assert start == allocate(shapes, sizes, 402)
    moves = []

    def look(step):
        now = run.mask()
        assert {n: int(kept.sum()) for n, kept in now.items()} == start
        moves.append(now)

    run.go(look)
    assert any(not torch.equal(moves[0][n], moves[-1][n]) for n in start)


@pytest.mark.parametrize("name", PRUNERS)
def test_layers_are_allotted_by_erdos_renyi_unless_told_otherwise(begin, name):
    run = begin(name, 1, density=0.3)
    shapes = {n: tuple(w.shape) for n, w in prunable(run.model).items()}
    sizes = {n: w.numel() for n, w in prunable(run.model).items()}
    assert {n: int(kept.sum()) for n, kept in run.mask().items()} == erk(shapes, sizes, 402)


@pytest.mark.parametrize("name", [*PRUNERS, "gradual"])
def test_uniform_keeps_no_other_layer_whole_where_the_first_is_not_pruned(begin, name):
    run = begin(name, 2, density=0.3, scope="uniform", ignore=("0.*",))
    run.go()
    kept = [int(bits.sum()) / bits.numel() for bits in run.mask().values()]
    assert kept == pytest.approx([0.3] * 3, abs=0.005)


# Refusals


@pytest.mark.parametrize("name", PRUNERS)
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"density": 0.0}, "density=0: it must be above 0 and at most 1"),
        ({"density": -0.1}, "density=-0.1"),
        ({"density": 1.5}, "density=1.5"),
        ({"density": math.nan}, "density=nan"),
        ({"scope": "ekr"}, "scope='ekr': it must be one of"),
        ({"every": 0}, "every"),
        ({"every": -1}, "every"),
        ({"until": -0.1}, "until"),
        ({"until": 1.1}, "until"),
        ({"until": math.nan}, "until"),
        ({"rate": -0.5}, "rate"),
        ({"rate": 1.5}, "rate"),
        ({"rate": math.nan}, "rate"),
    ],
)
def test_what_cannot_be_is_refused_before_the_training(begun, name, options, words):
    with pytest.raises(BadUsage, match=words):
        begun(name, WEIGHTS, FIRST, **{"density": 0.5, **options})


@pytest.mark.parametrize("name", PRUNERS)
def test_nothing_moves_at_a_rate_of_0_or_until_0(begun, name):
    for options in ({"rate": 0.0}, {"until": 0.0}):
        pruner, params = begun(name, WEIGHTS, FIRST, density=0.5, every=1, **options)
        for step in (1, 2, 99, 100):
            assert observe(pruner, params, {"w": [1.0] * 8}, step) == {"w": [0, 1, 2, 3]}
