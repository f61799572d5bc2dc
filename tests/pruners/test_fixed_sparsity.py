"""The same sparsity in every layer: by the Gaussian assumption, and by bisection."""

import math
from statistics import NormalDist, pstdev

import pytest
import torch

from prunecli.errors import BadUsage
from prunecli.pruners.fixed_bs import fixed_bs
from prunecli.pruners.fixed_ga import fixed_ga
from prunecli.types import Clock

FIRST, LAST = Clock(1, 4, 2), Clock(8, 4, 2)


def z(sparsity):
    """Within how many standard deviations a part of a Gaussian lies, by the standard library."""
    return NormalDist().inv_cdf((1 + sparsity) / 2)


def draws(*shapes, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return {f"w{i}.weight": torch.randn(shape, generator=draw) for i, shape in enumerate(shapes)}


def left(pruner):
    """What the forward pass would use, without a gradient."""
    with torch.no_grad():
        return pruner.weights(pruner.params, FIRST)


def pruned_part(pruner, name):
    return 1 - int(left(pruner)[name].count_nonzero()) / pruner.params[name].numel()


# fixed-ga


@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.85, 0.98])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 40.0])
def test_ga_prunes_the_asked_part_of_a_gaussian_to_within_a_hundredth(course, sparsity, scale):
    made = course({"w0.weight": draws((400, 1000))["w0.weight"] * scale}, 2)
    pruner = fixed_ga(made, density=1 - sparsity)
    assert pruned_part(pruner, "w0.weight") == pytest.approx(sparsity, rel=0.01)


@pytest.mark.parametrize("density", [0.02, 0.15, 0.5, 0.9])
def test_gas_threshold_is_the_spread_of_the_layer_as_it_is_now(course, density):
    """Of weights that are neither Gaussian nor centred: not the root of their mean square."""
    made = course({n: w.square() + 1 for n, w in draws((20, 400), (9000,)).items()}, 2)
    pruner = fixed_ga(made, density=density)
    for factor in (1, 0.3, 5):
        for name, weight in made.params.items():
            weight.data.mul_(factor)
            expected = z(1 - density) * pstdev(weight.flatten().tolist())
            assert pruner.thresholds()[name].item() == pytest.approx(expected, rel=2e-4)


def test_recentering_takes_the_mean_of_each_large_layer_after_every_step(course):
    weights = {n: w + 8 for n, w in draws((50, 40), (1000,), (999,)).items()}
    centred, plain = (
        fixed_ga(course(weights, 2), density=0.5, recenter=recenter) for recenter in (True, False)
    )
    for clock in (FIRST, LAST):
        for pruner in (centred, plain):
            pruner.update(pruner.params, clock)
    for name in ("w0.weight", "w1.weight"):
        expected = weights[name] - weights[name].double().mean().float()
        torch.testing.assert_close(centred.params[name].detach(), expected, atol=1e-5, rtol=1e-5)
        assert torch.equal(plain.params[name].detach(), weights[name])
    # What is pruned at last is what lies near the new mean; the old one was nowhere near zero.
    assert not centred.final["w0.weight"].all()
    assert centred.final["w0.weight"].float().mean() == pytest.approx(0.5, abs=0.03)
    assert plain.final["w0.weight"].all()


def test_small_layers_are_not_recentred(course):
    made = course({n: w + 3 for n, w in draws((1000,), (999,)).items()}, 2)
    fixed_ga(made, density=0.5, recenter=True).update(made.params, FIRST)
    assert made.params["w0.weight"].mean().abs() < 1e-5
    assert made.params["w1.weight"].mean() > 2.9


# fixed-bs


SHAPES = {
    "gaussian": lambda x: x,
    "long-tailed": lambda x: x**5,
    "two humps": lambda x: x.sign() * (3 + 0.1 * x),
    "tiny": lambda x: 1e-12 * x,
}


@pytest.mark.parametrize("eps", [1e-2, 1e-3, 1e-4])
@pytest.mark.parametrize("density", [0.003, 0.15, 0.5, 0.97])
@pytest.mark.parametrize("shape", SHAPES)
def test_bs_prunes_the_asked_part_to_within_eps_whatever_the_shape(course, shape, density, eps):
    warnings = []
    weights = {n: SHAPES[shape](w) for n, w in draws((100, 200), (10_000,)).items()}
    pruner = fixed_bs(course(weights, 2, warn=warnings.append), density=density, eps=eps)
    for name in weights:
        assert abs(pruned_part(pruner, name) - (1 - density)) < eps
    pruner.update(pruner.params, LAST)
    assert warnings == []


def test_bs_follows_the_weights_wherever_they_go(course):
    made = course(draws((5000,)), 2)
    pruner = fixed_bs(made, density=0.2)
    for factor in (1, 1.01, 1e-4, 1e6, -1):
        made.params["w0.weight"].data.mul_(factor)
        assert abs(pruned_part(pruner, "w0.weight") - 0.8) < 1e-3
    made.params["w0.weight"].data.add_(100)
    assert abs(pruned_part(pruner, "w0.weight") - 0.8) < 1e-3


def test_a_threshold_that_still_holds_is_taken_over_and_one_that_does_not_is_sought_anew(course):
    made = course({"w0.weight": torch.arange(1.0, 1001)}, 2)
    pruner = fixed_bs(made, density=0.5, eps=0.05)
    first = pruner.thresholds()["w0.weight"].item()
    assert 450 < first < 552
    made.params["w0.weight"].data.mul_(1.0001)
    assert pruner.thresholds()["w0.weight"].item() == first
    made.params["w0.weight"].data.mul_(2)
    assert 900 < pruner.thresholds()["w0.weight"].item() < 1104


def test_equal_weights_that_rule_the_sparsity_out_are_told_of_at_the_end_by_name(course):
    warnings = []
    weights = draws((1000,)) | {"tied.weight": torch.tensor([0.5] * 600 + [-1.0] * 400)}
    pruner = fixed_bs(course(weights, 2, warn=warnings.append), density=0.2)
    left(pruner)
    pruner.update(pruner.params, FIRST)
    assert warnings == []
    assert pruned_part(pruner, "tied.weight") in (0.0, 0.6)  # 0.8 is what no threshold gives
    pruner.update(pruner.params, LAST)
    [warning] = warnings
    assert "'tied.weight' has a sparsity of 0.6, not 0.8" in warning


def test_asked_again_of_the_same_weights_bs_gives_the_same_threshold(course):
    """An evaluation asks once more than there are steps. The zeros are those of an earlier mask."""
    weights = {"w0.weight": torch.cat([torch.zeros(800), torch.linspace(0.1, 1, 200)])}
    pruner = fixed_bs(course(weights, 2), density=0.5)
    assert len({int(pruner.kept()["w0.weight"].sum()) for _ in range(6)}) == 1


@pytest.mark.parametrize("eps", [0.0, -1e-3, math.nan])
def test_an_eps_that_nothing_can_be_within_is_refused(course, eps):
    with pytest.raises(BadUsage, match="eps=.*: it must be above 0"):
        fixed_bs(course(draws((1000,)), 2), density=0.5, eps=eps)


@pytest.mark.parametrize(("density", "warned"), [(0.1, False), (0.08, True)])
def test_a_threshold_above_all_weights_is_warned_of(course, density, warned):
    """Uniform weights end at sqrt(3) standard deviations, and 0.0833 of a Gaussian lies beyond."""
    said = []
    even = torch.linspace(-1, 1, 40_000).reshape(200, 200)
    fixed_ga(course({"even.weight": even}, 2, warn=said.append), density=density)
    assert bool(said) is warned
    words = "no weight of 'even.weight' exceeds its threshold of 1.75 standard"
    assert not warned or said[0].startswith(words)
