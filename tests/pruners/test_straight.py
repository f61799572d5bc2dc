"""What a straight-through pruner lets the forward pass see, and what flows back through it."""

import math

import pytest
import torch
from torch.nn import functional as F

from prunecli.errors import BadUsage
from prunecli.pruners._straight import Thresholded
from prunecli.pruners.adaptive import adaptive
from prunecli.pruners.fixed_bs import fixed_bs
from prunecli.pruners.fixed_ga import fixed_ga
from prunecli.types import Clock

FIXED = [fixed_bs, fixed_ga]
PRUNERS = [*FIXED, adaptive]
FIRST, LAST = Clock(1, 4, 2), Clock(8, 4, 2)
W = [-2.0, -1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0, 2.0]


def draws(*shapes, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return {f"w{i}.weight": torch.randn(shape, generator=draw) for i, shape in enumerate(shapes)}


def quiet(message):
    """Whoever watches is not told."""


def left(pruner):
    """What the forward pass would use, without a gradient."""
    with torch.no_grad():
        return pruner.weights(pruner.params, FIRST)


def through(weight, threshold, straight=True):
    return Thresholded.apply(torch.tensor(weight), torch.tensor(threshold), straight)


# The estimator


def test_a_weight_at_the_threshold_is_kept_and_one_below_it_is_plus_zero():
    seen = through(W, 0.5)
    assert seen.tolist() == [-2.0, -1.0, -0.5, 0.0, 0.0, 0.0, 0.5, 1.0, 2.0]
    assert not seen[3:6].view(torch.int32).any()
    below = torch.nextafter(torch.tensor(0.5), torch.tensor(0.0)).item()
    assert through([below, -below], 0.5).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("straight", [True, False])
def test_a_threshold_of_zero_prunes_nothing_and_has_no_gradient(straight):
    w, t = torch.tensor(W, requires_grad=True), torch.tensor(0.0, requires_grad=True)
    seen = Thresholded.apply(w, t, straight)
    (seen * torch.arange(9.0)).sum().backward()
    assert torch.equal(seen, w)
    assert w.grad.tolist() == [*range(9)]  # that of the weight 0 as well: it is not pruned
    assert t.grad is None or t.grad.item() == 0.0


def convolved(weight, images):
    """A loss of one convolution that depends on each of its outputs in another way."""
    out = F.conv2d(images, weight, stride=2, padding=1)
    return (out.tanh() * torch.linspace(-1, 2, out.numel()).view_as(out)).sum()


@pytest.mark.parametrize("straight", [True, False])
def test_the_gradient_of_a_convolution_is_that_by_what_it_used(straight):
    """dL/dW := dL/dW~ for every weight, dL/dX by W~; the reference never saw a threshold."""
    draw = torch.Generator().manual_seed(0)
    w = torch.randn(5, 3, 3, 3, generator=draw, requires_grad=True)
    x = torch.randn(2, 3, 6, 6, generator=draw, requires_grad=True)
    convolved(Thresholded.apply(w, torch.tensor(0.8), straight), x).backward()
    small = w.detach().abs() < 0.8
    sparse = torch.where(small, 0.0, w.detach()).requires_grad_()
    same = x.detach().clone().requires_grad_()
    convolved(sparse, same).backward()
    assert 30 < small.sum() < 105
    assert sparse.grad[small].abs().min() > 0
    assert torch.equal(w.grad, sparse.grad if straight else sparse.grad.masked_fill(small, 0.0))
    assert torch.equal(x.grad, same.grad)


def as_in_footnote_2(w, bound):
    """b sigma T(w / (b sigma)), T the identity on the way back."""
    x = w / bound
    return bound * (x + (torch.where(x.abs() < 1, 0.0, x) - x).detach())


def test_the_thresholds_gradient_is_eq_18_and_that_of_the_papers_own_formulation():
    draw = torch.Generator().manual_seed(1)
    w, slope = torch.randn(2, 4, 50, generator=draw, dtype=torch.float64)
    ours, theirs = (torch.tensor(0.7, dtype=torch.float64, requires_grad=True) for _ in "ab")
    (Thresholded.apply(w, ours, True).sin() * slope).sum().backward()
    (as_in_footnote_2(w, theirs).sin() * slope).sum().backward()
    rows = zip(w.flatten().tolist(), slope.flatten().tolist(), strict=True)
    eq_18 = sum((0 - each) / 0.7 * by for each, by in rows if abs(each) < 0.7)  # cos 0 = 1
    assert ours.grad.item() == pytest.approx(eq_18, rel=1e-12)
    assert theirs.grad.item() == pytest.approx(eq_18, rel=1e-12)
    assert abs(eq_18) > 0.5


def test_without_the_estimator_the_thresholds_gradient_is_zero():
    w, t = torch.tensor(W), torch.tensor(0.7, requires_grad=True)
    (Thresholded.apply(w, t, False) * torch.arange(9.0)).sum().backward()
    assert t.grad is None or t.grad.item() == 0.0


# What they share


@pytest.mark.parametrize("fixed", FIXED)
def test_a_density_of_1_keeps_every_weight_zeros_as_well(course, fixed):
    weights = {"w0.weight": torch.tensor([0.0, -0.0, 1e-30, -1.0] * 300)}
    pruner = fixed(course(weights, 2), density=1.0)
    assert torch.equal(left(pruner)["w0.weight"], weights["w0.weight"])
    pruner.update(pruner.params, LAST)
    assert pruner.mask(pruner.params, LAST)["w0.weight"].all()


@pytest.mark.parametrize("build", PRUNERS)
def test_layers_below_the_least_stay_whole_and_out_of_the_mask(course, build):
    made = course(draws((10, 99), (10, 100), (1001,)), 2, warn=quiet)
    pruner = build(made, density=0.5)
    assert left(pruner).keys() == {"w1.weight", "w2.weight"}
    pruner.update(made.params, LAST)
    mask = pruner.mask(made.params, LAST)
    assert mask.keys() == {"w1.weight", "w2.weight"}
    kept = 990 + sum(int(bits.sum()) for bits in mask.values())
    assert pruner.facts()["density"] == pytest.approx(kept / (990 + 1000 + 1001), abs=1e-12)
    assert build(course(draws((10, 99)), 2), density=0.5, least=990).params.keys() == {"w0.weight"}


@pytest.mark.parametrize("build", PRUNERS)
def test_a_least_that_no_layer_has_is_refused_with_the_size_of_the_largest(course, build):
    with pytest.raises(
        BadUsage, match="least=6000: it must be at most 5,000, the weights of the largest layer"
    ):
        build(course(draws((5000,), (10,)), 2), density=0.5, least=6000)


@pytest.mark.parametrize("build", PRUNERS)
def test_no_epochs_are_too_few(course, build):
    with pytest.raises(BadUsage, match="epoch"):
        build(course(draws((1000,)), 0), density=0.5)


@pytest.mark.parametrize("build", PRUNERS)
def test_a_layer_of_one_weight_has_no_deviation_and_stays_whole(course, build):
    weights = draws((1000,)) | {"one.weight": torch.ones(1, 1)}
    assert "one.weight" not in build(course(weights, 2), density=0.5, least=1).kept()


def test_a_layer_of_equal_weights_has_no_spread_to_count(course):
    weights = draws((1000,)) | {"same.weight": torch.ones(50, 20)}
    pruner = fixed_ga(course(weights, 1), density=0.5, least=1)
    pruner.update(pruner.params, Clock(1, 1, 1))
    assert sum(pruner.facts()["weights"]) in range(990, 1001)


def test_the_last_facts_count_the_weights_by_their_distance_in_standard_deviations(course):
    weights = {n: w * 7 for n, w in draws((40, 50), (1500,), (10,)).items()}
    pruner = fixed_ga(course(weights, 2), density=0.5)
    assert "weights" not in pruner.facts()
    pruner.update(pruner.params, LAST)
    counts = [0] * 80  # from -4 to 4, a tenth each
    for name in ("w0.weight", "w1.weight"):
        scaled = weights[name].double() / weights[name].double().std()
        for each in scaled.flatten().tolist():
            if abs(each) < 4:
                counts[math.floor((each + 4) * 10)] += 1
    found = pruner.facts()["weights"]
    assert sum(found) == sum(counts) >= 3490
    assert sum(abs(a - b) for a, b in zip(found, counts, strict=True)) <= 8  # rounding at the edges


@pytest.mark.parametrize("build", PRUNERS)
def test_taken_up_again_it_goes_on_with_the_same_thresholds_and_mask(course, build):
    first, second = (build(course(draws((3000,)), 2, warn=quiet), density=0.3) for _ in "ab")
    left(first)
    second.load_state_dict({n: t.clone() for n, t in first.state_dict().items()})
    assert torch.equal(left(first)["w0.weight"], left(second)["w0.weight"])
    assert second.mask({}, FIRST) == {}
    first.update(first.params, LAST)
    second.load_state_dict({n: t.clone() for n, t in first.state_dict().items()})
    assert torch.equal(first.mask({}, LAST)["w0.weight"], second.mask({}, LAST)["w0.weight"])
    assert second.weights(second.params, LAST) == {}
