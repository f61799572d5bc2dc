"""Layers kept apart: very sparse or very dense, while all together meet a budget (3.4.4)."""

import math
from statistics import NormalDist

import pytest
import torch

from prunecli.errors import BadUsage
from prunecli.plugins.resolve import resolve
from prunecli.pruners._apart import Apart
from prunecli.pruners.adaptive import adaptive
from prunecli.types import Clock

FIRST, LAST = Clock(1, 4, 2), Clock(8, 4, 2)
SIZES = {"a.weight": (40, 100), "b.weight": (30, 100), "c.weight": (20, 100), "d.weight": (1000,)}
SHARES = [0.4, 0.3, 0.2, 0.1]


def gaussian(b):
    return 2 * NormalDist().cdf(b) - 1


def slope(b):
    return 2 * math.exp(-(b**2) / 2) / math.sqrt(2 * math.pi)


@pytest.fixture
def made(course):
    """`made(b, **options)`: a pruner of four layers of Gaussian weights with these thresholds."""

    def make(b=None, *, warn=pytest.fail, **options):
        draw = torch.Generator().manual_seed(0)
        weights = {name: torch.randn(size, generator=draw) for name, size in SIZES.items()}
        pruner = adaptive(course(weights, 2, warn=warn), **options)
        if b is not None:
            pruner.b.data = torch.tensor(b)
        return pruner

    return make


def chosen(s, shares, low, high, lower, upper, target):
    """Sides by trying every number of sparse layers, one sum after the other."""
    n = len(s)
    must = [lower[i] > low for i in range(n)]
    never = [upper[i] < high for i in range(n)]
    ranked = sorted(range(n), key=lambda i: -(s[i] + 2 * must[i] - 2 * never[i]))
    best = None
    for k in range(sum(must), n - sum(never) + 1):
        sparse = set(ranked[:k])
        least = sum(
            shares[i] * (max(lower[i], high) if i in sparse else lower[i]) for i in range(n)
        )
        most = sum(shares[i] * (upper[i] if i in sparse else min(upper[i], low)) for i in range(n))
        off = max(least - target, target - most, 0.0)
        cost = off + 0.01 * abs((least + most) / 2 - target)
        if best is None or cost < best[0]:
            best = (cost, sparse)
    return [i in best[1] for i in range(n)]


def test_the_sides_are_those_that_trying_all_numbers_of_sparse_layers_gives():
    draw = torch.Generator().manual_seed(1)
    seen = set()
    for trial in range(300):
        s, shares = torch.rand(2, 6, generator=draw, dtype=torch.float64)
        shares = shares / shares.sum()
        low, high = torch.rand(2, generator=draw, dtype=torch.float64).sort().values.tolist()
        lower, upper = torch.zeros(6, dtype=torch.float64), torch.ones(6, dtype=torch.float64)
        if trial % 3 == 0:
            lower[2], upper[4] = (low + high) / 2, (low + high) / 2
        target = float(torch.rand((), generator=draw))
        apart = Apart(low, high, shares, lower, upper, target)
        sides = apart.sides(s).tolist()
        lists = (s.tolist(), shares.tolist(), low, high, lower.tolist(), upper.tolist())
        assert sides == chosen(*lists, target), trial
        seen.add(sum(sides))
    assert len(seen) >= 5


def test_without_a_target_each_layer_goes_to_the_nearer_side():
    apart = Apart(0.2, 0.8, torch.ones(3) / 3, torch.zeros(3), torch.ones(3), None)
    assert apart.sides(torch.tensor([0.1, 0.51, 0.49])).tolist() == [False, True, False]


def test_what_is_added_to_the_loss_and_its_gradient_by_hand(made):
    """Layers a and b are the sparse ones of this budget; c and d are to be dense."""
    b, lam, t = [1.2, 1.0, 0.6, 0.2], 3.0, 0.25
    pruner = made(b, density=0.4, apart="0.3:0.8", estimate="gauss", lam=lam)
    pruner.pressure.fill_(t)
    pruner.weights(pruner.params, FIRST)
    loss = pruner.penalty(pruner.params, FIRST)
    s = [gaussian(each) for each in b]
    left = 1 - sum(c * each for c, each in zip(SHARES, s, strict=True))
    off = 0.4 * (0.8 - s[0]) + 0.3 * (0.8 - s[1]) + 0.2 * (s[2] - 0.3)
    assert s[0] < 0.8
    assert s[2] > 0.3 > s[3]
    assert loss.item() == pytest.approx(lam * (left - 0.4) ** 2 + lam * t * off, rel=1e-5)
    loss.backward()
    common = [-lam * 2 * (left - 0.4) * c for c in SHARES]
    pull = [-lam * t * 0.4, -lam * t * 0.3, lam * t * 0.2, 0.0]
    expected = [(x + y) * slope(each) for x, y, each in zip(common, pull, b, strict=True)]
    assert pruner.b.grad.tolist() == pytest.approx(expected, rel=1e-4)


def test_the_pressure_rises_with_the_steps_and_is_part_of_the_state(made):
    pruner = made(density=0.5, apart="0.3:0.8", warn=lambda _: None)
    assert pruner.pressure.item() == 0
    pruner.update(pruner.params, Clock(2, 4, 2))
    assert pruner.pressure.item() == 0.25
    other = made(density=0.5, apart="0.3:0.8")
    other.load_state_dict(pruner.state_dict())
    assert other.pressure.item() == 0.25
    assert "pressure" not in made(density=0.5).state_dict()


def sparsities(pruner):
    mask = pruner.mask(pruner.params, LAST)
    return [round(1 - float(kept.double().mean()), 9) for kept in mask.values()]


@pytest.mark.parametrize("mode", ["budget", "hinge"])
@pytest.mark.parametrize("density", [0.7, 0.5, 0.4, 0.2])
@pytest.mark.parametrize("b", [[0.5, 0.6, 0.7, 0.8], [1.0, 0.9, 1.1, 0.2], [0.4, 2.0, 0.1, 0.05]])
def test_no_layer_ends_within_the_band_and_the_budget_is_met_all_the_same(made, mode, density, b):
    told = []
    pruner = made(b, mode=mode, density=density, apart="0.3:0.8", warn=told.append)
    for name, weight in pruner.params.items():
        if name.startswith("b"):  # far from Gaussian
            weight.data.pow_(3)
    pruner.update(pruner.params, LAST)
    ends = sparsities(pruner)
    assert all(s <= 0.3 or s >= 0.8 for s in ends), ends
    reached = 1 - sum(c * s for c, s in zip(SHARES, ends, strict=True))
    assert reached <= density + 1e-6
    assert mode == "hinge" or reached == pytest.approx(density, abs=0.002)
    # It would not have been so without.
    plain = made(b, mode=mode, density=density, warn=told.append)
    plain.update(plain.params, LAST)
    assert mode == "hinge" or any(0.3 < s < 0.8 for s in sparsities(plain))


def test_thresholds_that_are_apart_already_are_left_as_they_are(made):
    b = [2.0, 1.6, 0.2, 0.1]
    pruner = made(b, density=0.38, apart="0.3:0.8", warn=lambda _: None)
    plain = made(b, density=0.38, warn=lambda _: None)
    for each in (pruner, plain):
        each.update(each.params, LAST)
    assert sparsities(pruner) == sparsities(plain)


def test_a_layers_own_limits_decide_its_side(made):
    pruner = made(
        [0.5] * 4, density=0.5, apart="0.3:0.8", upper="a.*:0.5,b.*:1,c.*:1,d.*:1",
        warn=lambda _: None,
    )  # fmt: skip
    pruner.update(pruner.params, LAST)
    a, *others = sparsities(pruner)
    assert a <= 0.3
    assert all(s <= 0.3 or s >= 0.8 for s in others)


def test_limits_within_the_band_are_refused(made):
    with pytest.raises(BadUsage, match=r"apart=0.3:0.8: .* leave 'a.weight' nothing outside"):
        made(density=0.5, apart="0.3:0.8", lower="a.*:0.4", upper="a.*:0.6")


@pytest.mark.parametrize("text", ["0.3", "0.8:0.3", "0.3:0.3", "-0.1:0.5", "0.5:1", "a:b", "0:1:2"])
def test_what_is_no_band_is_refused_when_it_is_planned(text):
    plugin = resolve("pruners", "adaptive", {"density": 0.5, "apart": text}, by_file=False)
    with pytest.raises(BadUsage, match=rf"apart={text}: give LOW:HIGH"):
        plugin.check_fits(1)


@pytest.mark.parametrize("goal", [{"density": 0.3}, {"mode": "unconstr", "lam": 1.0}])
def test_a_network_that_trains_so_ends_apart(begin, goal):
    run = begin("adaptive", epochs=12, least=100, apart="0.4:0.7", rate=0.5, **goal)
    run.go()
    ends = {name: 1 - float(kept.double().mean()) for name, kept in run.mask().items()}
    assert len(ends) == 4
    assert all(s <= 0.4 or s >= 0.7 for s in ends.values()), ends
    if "density" in goal:
        assert run.pruner.facts()["density"] == pytest.approx(0.3, abs=0.1)
