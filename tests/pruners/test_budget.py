"""What a budget is a share of, what it comes to at last, and which ones are refused."""

import math
from statistics import NormalDist

import pytest
import torch

from prunecli.errors import BadUsage
from prunecli.pruners.adaptive import adaptive
from prunecli.types import Clock

FIRST, LAST = Clock(1, 4, 2), Clock(8, 4, 2)
SIZES = {"0.weight": 100, "3.weight": 216, "6.weight": 864, "8.weight": 160}
MACS = {"0.weight": 6400, "3.weight": 1944, "6.weight": 864, "8.weight": 160}
"""Of `network` on images of 28x28: 8x8 and 3x3 places times the weights of a convolution."""


def gaussian(b):
    """The part of a Gaussian that lies within b standard deviations."""
    return 2 * NormalDist().cdf(b) - 1


def z(sparsity):
    return NormalDist().inv_cdf((1 + sparsity) / 2)


def density(mask):
    """The part that is left of the weights of the layers that may be pruned."""
    return sum(int(bits.sum()) for bits in mask.values()) / sum(b.numel() for b in mask.values())


def operations(mask):
    """The part that is left of the operations of the whole network."""
    gone = sum(MACS[name] * int((~bits).sum()) / SIZES[name] for name, bits in mask.items())
    return 1 - gone / sum(MACS.values())


@pytest.fixture
def held(course):
    """`held(weights, **options)`: a pruner driven by hand, whose warnings are in `told`."""

    def make(weights, told=None, **options):
        warn = (lambda message: None) if told is None else told.append
        return adaptive(course(weights, 2, warn=warn), **options)

    return make


def gauss(*sizes, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return {f"w{i}.weight": torch.randn(size, generator=draw) for i, size in enumerate(sizes)}


def ended(pruner):
    pruner.update(pruner.params, LAST)
    return pruner.mask(pruner.params, LAST)


# Shares


@pytest.mark.parametrize(
    ("weighting", "shares"),
    [
        ("wavg", [216 / 1080, 864 / 1080]),
        ("avg", [1 / 2, 1 / 2]),
        ("flops", [1944 / 9368, 864 / 9368]),  # of the whole network, small layers too
    ],
)
def test_the_shares_of_layers_are_those_of_weights_of_layers_or_of_counted_operations(
    begin, weighting, shares
):
    run = begin(
        "adaptive", 1, mode="unconstr", weighting=weighting, estimate="gauss", lam=1.0, least=200
    )
    for b in ([0.5, 1.5], [1.0, 0.2]):
        run.pruner.b.data = torch.tensor(b, dtype=torch.float64)
        expected = 1 - sum(c * gaussian(each) for c, each in zip(shares, b, strict=True))
        loss = run.pruner.penalty(run.state.params, FIRST)
        assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_shares_of_weights_leave_out_what_is_ignored_and_those_of_operations_do_not(begin):
    run = begin(
        "adaptive", 1, density=0.5, flops=0.95, lam=1.0, lam_flops=1.0, estimate="gauss", least=200,
        ignore=("3.weight",),
    )  # fmt: skip
    run.pruner.b.data = torch.tensor([0.9], dtype=torch.float64)
    s = gaussian(0.9)
    expected = (1 - s - 0.5) ** 2 + (1 - 864 / 9368 * s - 0.95) ** 2
    loss = run.pruner.penalty(run.state.params, FIRST)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


# The end


@pytest.mark.parametrize("estimate", ["count", "gauss"])
@pytest.mark.parametrize("goal", [{"density": 0.3}, {"flops": 0.6}, {"density": 0.4, "flops": 0.5}])
@pytest.mark.parametrize("rate", [0.01, 0.5])
def test_under_the_hinge_no_budget_is_exceeded_by_the_count(begin, goal, estimate, rate):
    """Slow thresholds do not get there within the training, so the last step has to see to it."""
    run = begin("adaptive", 2, mode="hinge", estimate=estimate, rate=rate, least=100, **goal)
    run.go()
    reached = {"density": density(run.mask()), "flops": operations(run.mask())}
    assert all(reached[name] <= goal[name] for name in goal)
    assert run.state.history[-1]["density"] == pytest.approx(density(run.mask()), abs=1e-12)
    if rate == 0.01:  # no more is taken than it needs: less than a hundredth of one budget
        assert any(reached[name] > goal[name] - 0.01 for name in goal)


@pytest.mark.parametrize("seed", range(4))
def test_under_the_hinge_thresholds_that_meet_the_budget_stay_as_they_were(held, seed):
    told = []
    pruner = held(gauss(3000, 2000, seed=seed), told, density=0.5, mode="hinge", start=0.8)
    before = pruner.b.tolist()
    mask = ended(pruner)
    assert pruner.b.tolist() == before
    assert density(mask) == pytest.approx(0.2, abs=0.02)
    assert told == []  # below a budget is where the hinge leaves it


def test_thresholds_keep_their_proportion_when_the_hinge_raises_them(held):
    told = []
    pruner = held(gauss(3000, 2000), told, density=0.3, mode="hinge")
    pruner.b.data.copy_(torch.tensor([0.4, 0.8]))
    mask = ended(pruner)
    assert 0.29 < density(mask) <= 0.3
    a, b = (1 - bits.float().mean().item() for bits in mask.values())
    assert z(b) / z(a) == pytest.approx(2, abs=0.1)
    assert "density=0.3" in told[0]


@pytest.mark.parametrize("start", [0.5, 0.9])
def test_a_budget_that_was_missed_is_told_of_with_what_was_reached(held, start):
    told = []
    mask = ended(held(gauss(50_000), told, density=0.3, start=start))
    assert density(mask) == pytest.approx(1 - start, abs=0.01)
    assert len(told) == 1
    assert told[0].startswith(
        f"density=0.3 was requested, but training reached {density(mask):.4g}"
    )


def test_a_budget_that_was_met_is_not_told_of(held):
    told = []
    ended(held(gauss(50_000, 50_000), told, density=0.3, start=0.7))
    ended(held(gauss(50_000), told, mode="unconstr"))
    assert told == []


@pytest.mark.parametrize("b", [[0.0, 0.0], [1.0, 0.0]])
def test_under_the_hinge_thresholds_of_zero_are_raised_as_well(held, within, b):
    pruner = held(gauss(1000, 3000), density=0.3, mode="hinge")
    pruner.b.data.copy_(torch.tensor(b))
    with within(0.5):
        assert density(ended(pruner)) <= 0.3


def test_what_the_hinge_raises_stays_within_the_limits(held):
    pruner = held(gauss(3000, 3000), density=0.4, mode="hinge", upper="w0*:0.5", start=0.45)
    mask = ended(pruner)
    assert density(mask) <= 0.4
    assert 1 - mask["w0.weight"].float().mean().item() == pytest.approx(0.5, abs=0.05)


# Refusals


BOTH = {"density": 0.5, "flops": 0.5}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        *(({name: budget}, f"{name}={budget:g}: a budget is above 0 and below 1")
          for name in BOTH for budget in (0.0, -0.2, 1.0, 1.5)),
        ({"density": math.nan}, "density"),
        ({"flops": math.inf}, "flops"),
        ({"density": 1e-6}, "density=1e-06: it keeps fewer than 1 of 1,340 weights"),
        ({}, "mode=budget needs a budget: density, flops, or both"),
        ({"mode": "hinge"}, "mode=hinge needs a budget"),
        *(({"mode": "unconstr", name: 0.5}, "mode=unconstr has no budget") for name in BOTH),
        ({"weighting": "flops", "density": 0.5}, "weighting=flops is for mode=unconstr"),
        ({"weighting": "flops", "flops": 0.5}, "weighting=flops is for mode=unconstr"),
        *((BOTH | {"rate": rate}, "rate") for rate in (0.0, -0.1, math.nan, math.inf)),
        *((BOTH | {"start": start}, "start") for start in (0.0, 1.0, -0.1, 1.2, math.nan)),
        (BOTH | {"least": 865}, "least=865: it must be at most 864, the weights of the largest"),
        *((BOTH | {side: "0.5,xyz*:0.6"}, f"{side}=.*no layer that is pruned matches 'xyz\\*'")
          for side in ("lower", "upper")),
        (BOTH | {"lower": "3.weight:0.1", "least": 300}, "no layer that is pruned matches '3.w"),
        *((BOTH | {"lower": text}, "lower=.*: give a sparsity from 0 to 1")
          for text in ("half", "", "1.1", "-0.1", "nan", "0.5,", "3.weight", "3.weight:", "*:x")),
        (BOTH | {"lower": 0.6, "upper": 0.5}, "lower=0.6 is above upper=0.5 for '0.weight'"),
        (BOTH | {"lower": "6.*:0.6", "upper": "0.7,6.*:0.5"}, "lower=0.6 .* for '6.weight'"),
        # 864 of 1,340 weights at a sparsity of at most one half: 908 are always left.
        ({"density": 0.6, "upper": "0,6.*:0.5"}, "density=0.6 cannot be met: .* 0.6776 to 1"),
        ({"density": 0.7, "lower": "6.*:0.5"}, "density=0.7 cannot be met: .* 0 to 0.6776"),
        ({"density": 0.6, "mode": "hinge", "upper": "0,6.*:0.5"}, "density=0.6 cannot be met"),
        # The first convolution is 6,400 of 9,368 operations.
        ({"flops": 0.6, "upper": "0.weight:0"}, "flops=0.6 cannot be met: .* 0.6832 to 1"),
        ({"flops": 0.6, "least": 200}, "flops=0.6 cannot be met: .* 0.7003 to 1"),
        (BOTH | {"lower": "8.*:0.01,0*:0.8"}, "flops=0.5 cannot be met"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_before_the_training(begin, options, words):
    with pytest.raises(BadUsage, match=words):
        begin("adaptive", 2, **{"least": 100} | options)


@pytest.mark.parametrize("factor", [-1.0, -0.1, math.nan])
@pytest.mark.parametrize("name", ["lam", "lam_flops"])
def test_a_factor_that_rewards_the_wrong_is_refused_before_the_training(begin, name, factor):
    with pytest.raises(BadUsage, match=name):
        begin("adaptive", 2, least=100, **BOTH, **{name: factor})


def test_a_hinge_may_be_stricter_than_its_budget(begin):
    run = begin("adaptive", 1, density=0.9, mode="hinge", lower="0.6", least=100)
    assert run.pruner.b.tolist() == pytest.approx([z(0.6)] * 4, rel=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"density": 0.3, "upper": "0.7"},
        {"density": 0.1, "lower": "0.9"},
        {"density": 0.3, "upper": "0.7", "mode": "hinge"},
    ],
)
def test_a_budget_that_the_limits_just_allow_is_taken(begin, options):
    begin("adaptive", 1, least=100, **options)
