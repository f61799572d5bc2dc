"""Adaptive sparsity: the loss, its gradients, and how the thresholds train."""

import math
from statistics import NormalDist

import pytest
import torch

from prunecli.pruners.adaptive import adaptive
from prunecli.types import Clock

FIRST, LAST = Clock(1, 4, 2), Clock(8, 4, 2)
SIZES = {"a.weight": (30, 100), "b.weight": (1000,)}  # three quarters and one quarter
FLOPS = {"a.weight": 600, "b.weight": 300}  # of 1000
PENALTIES = {
    "budget": lambda left, budget: (left - budget) ** 2,
    "hinge": lambda left, budget: max(left - budget, 0.0),
    "unconstr": lambda left, budget: left,
}


def z(sparsity):
    """Within how many standard deviations a part of a Gaussian lies, by the standard library."""
    return NormalDist().inv_cdf((1 + sparsity) / 2)


def gaussian(b):
    """The part of a Gaussian that lies within b standard deviations."""
    return 2 * NormalDist().cdf(b) - 1


def slope(b):
    """Eq. 19 in standard deviations, of the sparsity."""
    return 2 * math.exp(-(b**2) / 2) / math.sqrt(2 * math.pi)


def draws(seed=0, sizes=SIZES, shape=lambda w: w):
    draw = torch.Generator().manual_seed(seed)
    return {name: shape(torch.randn(size, generator=draw)) for name, size in sizes.items()}


@pytest.fixture
def made(course):
    """`made(b, weights, **options)`: a pruner whose thresholds are those, after a forward pass."""

    def make(b=None, weights=None, **options):
        start = course(
            weights or draws(), 2, flops=lambda: (1000, FLOPS), warn=options.pop("warn", print)
        )
        pruner = adaptive(start, **options)
        if b is not None:
            pruner.b.data = torch.tensor(b, dtype=torch.float64)
        return pruner

    return make


def seen(pruner):
    return pruner.weights(pruner.params, FIRST)


def penalty(pruner):
    seen(pruner)
    return pruner.penalty(pruner.params, FIRST)


def gradient(pruner):
    [b] = pruner.parameters()
    b.grad = None
    penalty(pruner).backward()
    return b.grad.tolist()


def counted(pruner):
    """The sparsity of each layer by its magnitudes, one after the other."""
    return [
        sum(abs(each) < b * weight.std().item() for each in weight.flatten().tolist())
        / weight.numel()
        for b, weight in zip(pruner.b.tolist(), pruner.params.values(), strict=True)
    ]


# What is added to the loss


WEIGHTINGS = {"wavg": (0.75, 0.25), "avg": (0.5, 0.5), "flops": (0.6, 0.3)}


@pytest.mark.parametrize("estimate", ["gauss", "count"])
@pytest.mark.parametrize(
    ("mode", "weighting"),
    [(mode, by) for mode in PENALTIES for by in WEIGHTINGS if mode == "unconstr" or by != "flops"],
)
def test_the_penalty_and_its_gradient_by_hand(made, mode, weighting, estimate):
    """With `count` the value is the counted one, and the slope that of a Gaussian all the same."""
    b, lam = [1.2, 0.3], 7.0
    goal = {} if mode == "unconstr" else {"density": 0.1}
    weights = draws(shape=lambda w: w**3)
    pruner = made(b, weights, mode=mode, weighting=weighting, estimate=estimate, lam=lam, **goal)
    shares = WEIGHTINGS[weighting]
    sparsity = [gaussian(each) for each in b] if estimate == "gauss" else counted(pruner)
    left = 1 - sum(c * s for c, s in zip(shares, sparsity, strict=True))
    assert left > 0.13
    assert penalty(pruner).item() == pytest.approx(lam * PENALTIES[mode](left, 0.1), rel=1e-5)
    outer = 2 * (left - 0.1) if mode == "budget" else 1
    expected = [-lam * outer * c * slope(each) for c, each in zip(shares, b, strict=True)]
    assert gradient(pruner) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("b", [[0.2, 0.6], [2.0, 1.1]])
@pytest.mark.parametrize("goal", [{"density": 0.3}, {"flops": 0.4}, {"density": 0.3, "flops": 0.4}])
@pytest.mark.parametrize("mode", PENALTIES)
def test_the_gradient_is_that_of_central_differences(made, mode, goal, b):
    options = {} if mode == "unconstr" else goal
    pruner = made(b, mode=mode, estimate="gauss", lam=3.0, **options)
    slopes = gradient(pruner)
    for place, expected in enumerate(slopes):
        ends = []
        for step in (1e-5, -1e-5):
            pruner.b.data[place] += step
            ends.append(penalty(pruner).item())
            pruner.b.data[place] -= step
        assert (ends[0] - ends[1]) / 2e-5 == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_the_slope_of_one_layers_loss_is_eq_19(made):
    for b in (0.01, 0.5, 1.0, 2.5):
        pruner = made([b, 5.0], mode="unconstr", weighting="avg", estimate="gauss", lam=2.0)
        assert gradient(pruner)[0] == pytest.approx(
            -2 * math.exp(-(b**2) / 2) / math.sqrt(2 * math.pi), rel=1e-6
        )


@pytest.mark.parametrize("estimate", ["gauss", "count"])
@pytest.mark.parametrize("weighting", ["wavg", "avg"])
def test_nothing_is_left_where_every_layer_is_pruned(made, weighting, estimate):
    """A stray 1/N would leave half of it."""
    pruner = made([5.0, 5.0], mode="unconstr", weighting=weighting, estimate=estimate, lam=1.0)
    assert penalty(pruner).item() == pytest.approx(0, abs=1e-6)
    nothing = made([0.0, 0.0], mode="unconstr", weighting=weighting, estimate=estimate, lam=1.0)
    assert penalty(nothing).item() == pytest.approx(1, abs=1e-6)


def test_operations_that_are_never_pruned_are_always_left(made):
    pruner = made([5.0, 5.0], mode="unconstr", weighting="flops", lam=1.0)
    assert penalty(pruner).item() == pytest.approx(0.1, abs=1e-6)


@pytest.mark.parametrize("estimate", ["gauss", "count"])
def test_the_hinge_is_nothing_at_or_under_the_budget_and_a_slope_above_it(made, estimate):
    """One half of either layer is left, by the estimate and by the count."""
    halves = {name: torch.ones(size) for name, size in SIZES.items()}
    for weight in halves.values():
        weight.view(-1)[::2] = 3.0
    b = z(0.5) if estimate == "gauss" else 2.0  # the count is between 1 and 3 deviations
    under, at, above = (
        made([b, b], halves, mode="hinge", density=density, estimate=estimate)
        for density in (0.6, 0.5, 0.4)
    )
    assert penalty(under).item() == 0
    assert gradient(under) == [0, 0]
    assert penalty(at).item() == pytest.approx(0, abs=1e-5)
    assert penalty(above).item() == pytest.approx(10 * 0.1, rel=1e-5)
    assert gradient(above) == pytest.approx([-7.5 * slope(b), -2.5 * slope(b)], rel=1e-5)


def test_two_budgets_add_up_each_with_a_factor_of_its_own(made):
    b = [1.2, 0.3]
    goal = {"density": 0.2, "flops": 0.25, "estimate": "gauss", "lam": 4.0}
    by_weights = 1 - 0.75 * gaussian(1.2) - 0.25 * gaussian(0.3) - 0.2
    by_flops = 1 - 0.6 * gaussian(1.2) - 0.3 * gaussian(0.3) - 0.25
    for lam_flops, factor in ((None, 4.0), (11.0, 11.0), (0.0, 0.0)):
        pruner = made(b, lam_flops=lam_flops, **goal)
        expected = 4 * by_weights**2 + factor * by_flops**2
        assert penalty(pruner).item() == pytest.approx(expected, rel=1e-5)
    alone = made(b, flops=0.25, estimate="gauss", lam=4.0, lam_flops=11.0)
    assert penalty(alone).item() == pytest.approx(11 * by_flops**2, rel=1e-5)


LARGE = {"a.weight": (300, 1000), "b.weight": (100, 1000)}


def test_on_gaussian_weights_the_weighted_estimate_is_the_density_and_the_plain_one_is_not(made):
    b, options = [1.5, 0.2], {"mode": "unconstr", "estimate": "gauss", "lam": 1.0}
    weighted = made(b, draws(sizes=LARGE), weighting="wavg", **options)
    plain = made(b, draws(sizes=LARGE), weighting="avg", **options)
    nonzero = sum(int(w.count_nonzero()) for w in seen(weighted).values())
    assert penalty(weighted).item() == pytest.approx(nonzero / 400_000, rel=0.01)
    assert penalty(weighted).item() == pytest.approx(weighted.facts()["density"], rel=0.01)
    assert abs(penalty(plain).item() - nonzero / 400_000) > 0.1


def test_what_is_counted_is_counted_anew_in_every_step(made):
    pruner = made([1.0, 1.0], mode="unconstr", lam=1.0)
    for seed, power in ((1, 1), (2, 5), (3, 3)):
        for name, weight in draws(seed, shape=lambda w, power=power: w**power).items():
            pruner.params[name].data.copy_(weight)
        a, b = counted(pruner)
        assert penalty(pruner).item() == pytest.approx(1 - 0.75 * a - 0.25 * b, abs=1e-6)


def test_a_zero_that_is_not_pruned_is_left(made):
    weights = draws() | {"b.weight": torch.tensor([0.0, 1.0] * 500)}
    pruner = made([0.0, 0.0], weights, mode="unconstr", lam=1.0)
    assert pruner.facts()["density"] == 1
    assert penalty(pruner).item() == pytest.approx(1, abs=1e-6)


# What flows to the thresholds and the weights


def task(weights, images):
    """A loss of two layers that share nothing with the pruner."""
    first, second = weights.values()
    out = (images @ first).tanh() @ second.view(100, 10)
    return (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum() / 10


def reference(pruner, mode, estimate, images, *, attached=False):
    """Gradients of the whole loss by footnote 2, eqs. 5 and 9 to 11; sigma a constant."""
    b = pruner.b.detach().clone().requires_grad_()
    live = {n: w.detach().clone().requires_grad_() for n, w in pruner.params.items()}
    pruned, parts = {}, []
    for i, (name, w) in enumerate(live.items()):
        bound = b[i] * (w.std() if attached else w.detach().std())
        x = w / bound
        pruned[name] = bound * (x + (torch.where(x.abs() < 1, 0.0, x) - x).detach())
        s = torch.erf(b[i] / 2**0.5)
        real = (x.abs() < 1).double().mean()
        parts.append(s if estimate == "gauss" else s + (real - s).detach())
    left = 1 - 0.75 * parts[0] - 0.25 * parts[1]
    extra = {"budget": (left - 0.2) ** 2, "hinge": (left - 0.2).relu(), "unconstr": left}[mode]
    (task(pruned, images) + 6 * extra).backward()
    return [b.grad, *(w.grad for w in live.values())]


@pytest.mark.parametrize("estimate", ["gauss", "count"])
@pytest.mark.parametrize("mode", PENALTIES)
def test_all_gradients_are_those_of_the_papers_own_formulation(made, mode, estimate):
    goal = {} if mode == "unconstr" else {"density": 0.2}
    pruner = made([0.9, 0.4], mode=mode, estimate=estimate, lam=6.0, **goal)
    for weight in pruner.params.values():
        weight.data = weight.data.double()
    images = torch.randn(8, 30, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    (task(seen(pruner), images) + pruner.penalty(pruner.params, FIRST)).backward()
    ours = [pruner.b.grad, *(w.grad for w in pruner.params.values())]
    for mine, theirs in zip(ours, reference(pruner, mode, estimate, images), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-7)
    # It can be told apart from one that goes through sigma.
    through_sigma = reference(pruner, mode, estimate, images, attached=True)
    assert (ours[1] - through_sigma[1]).abs().max() > 1e-3
