"""Adaptive sparsity: where the thresholds begin, how they train, and where they may end."""

from statistics import NormalDist

import pytest
import torch

from prunecli.pruners.adaptive import adaptive
from prunecli.types import Clock

FIRST, LAST = Clock(1, 4, 2), Clock(8, 4, 2)
SIZES = {"a.weight": (30, 100), "b.weight": (1000,)}
FLOPS = {"a.weight": 600, "b.weight": 300}  # of 1000


def z(sparsity):
    """Within how many standard deviations a part of a Gaussian lies, by the standard library."""
    return NormalDist().inv_cdf((1 + sparsity) / 2)


def quiet(message):
    """Whoever watches is not told."""


@pytest.fixture
def made(course):
    """`made(**options)`: a pruner of two layers of Gaussian weights."""

    def make(warn=pytest.fail, **options):
        draw = torch.Generator().manual_seed(0)
        weights = {name: torch.randn(size, generator=draw) for name, size in SIZES.items()}
        return adaptive(course(weights, 2, flops=lambda: (1000, FLOPS), warn=warn), **options)

    return make


# Where they begin, and where they may end


@pytest.mark.parametrize(
    ("options", "sparsity"),
    [
        ({"density": 0.15}, 0.51),  # 0.6 of what is asked for
        ({"flops": 0.5}, 0.3),
        ({"density": 0.2, "flops": 0.5}, 0.48),
        ({"mode": "unconstr"}, 0.3),
        ({"density": 0.15, "start": 0.7}, 0.7),
        ({"mode": "unconstr", "start": 0.05}, 0.05),
    ],
)
def test_the_thresholds_begin_at_a_part_of_what_is_asked_for(made, options, sparsity):
    pruner = made(**options)
    assert pruner.b.tolist() == pytest.approx([z(sparsity)] * 2, rel=1e-5)
    for name, threshold in pruner.thresholds().items():
        expected = z(sparsity) * pruner.params[name].std().item()
        assert threshold.item() == pytest.approx(expected, rel=1e-5)


def test_a_threshold_is_held_between_nothing_and_five_deviations(made):
    pruner = made(density=0.5)
    pruner.b.data.copy_(torch.tensor([-0.1, 7.0]))
    pruner.update(pruner.params, FIRST)
    assert pruner.b.tolist() == [0, 5]
    pruner.b.data.copy_(torch.tensor([4.9, 0.01]))
    pruner.update(pruner.params, FIRST)
    assert pruner.b.tolist() == pytest.approx([4.9, 0.01], rel=1e-6)


def test_a_threshold_is_held_between_its_layers_limits(made):
    pruner = made(density=0.5, lower="0.1,b*:0.4", upper="a.weight:0.7,b.*:0.8", start=0.05)
    assert pruner.b.tolist() == pytest.approx([z(0.1), z(0.4)], rel=1e-5)
    pruner.b.data.fill_(9)
    pruner.update(pruner.params, FIRST)
    assert pruner.b.tolist() == pytest.approx([z(0.7), z(0.8)], rel=1e-5)
    pruner.b.data.fill_(0)
    pruner.update(pruner.params, FIRST)
    assert pruner.b.tolist() == pytest.approx([z(0.1), z(0.4)], rel=1e-5)


def test_the_mask_is_that_of_thresholds_within_their_limits(made):
    pruner = made(density=0.5, upper="0.5,b.*:0.6", warn=quiet)
    pruner.b.data.fill_(9)
    pruner.update(pruner.params, LAST)
    mask = pruner.mask(pruner.params, LAST)
    assert {name: bits.float().mean().item() for name, bits in mask.items()} == pytest.approx(
        {"a.weight": 0.5, "b.weight": 0.4}, abs=0.03
    )


def test_recentred_its_layers_lose_their_mean_after_every_step(made):
    centred, plain = (made(density=0.5, recenter=each) for each in (True, False))
    for pruner in (centred, plain):
        for weight in pruner.params.values():
            weight.data.add_(2)
        pruner.update(pruner.params, FIRST)
    means = [[w.mean().item() for w in p.params.values()] for p in (centred, plain)]
    assert means[0] == pytest.approx([0, 0], abs=1e-5)
    assert min(means[1]) > 1.9


def test_a_layer_held_whole_by_a_limit_trains_as_if_it_were_not_pruned(made):
    pruner = made(density=0.5, upper="b.weight:0")
    seen = pruner.weights(pruner.params, FIRST)
    assert torch.equal(seen["b.weight"], pruner.params["b.weight"])
    loss = sum(w.square().sum() for w in seen.values()) + pruner.penalty(pruner.params, FIRST)
    loss.backward()
    assert torch.equal(pruner.params["b.weight"].grad, 2 * pruner.params["b.weight"].detach())
    assert pruner.b.grad.isfinite().all()


# How they train


def followed(run):
    """Trains; the thresholds before each step, and their gradient and both rates in it."""
    rows, [b] = [], run.pruner.parameters()

    def look(params, clock):
        weights, own = run.state.optimizer.param_groups
        rows.append((b.detach().clone(), b.grad.clone(), own["lr"], weights["lr"]))

    run.pruner.observe = look
    run.go()
    return rows, b.detach()


RATE = 0.25
GOAL = {"density": 0.3, "least": 200, "rate": RATE}


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("schedule", ["constant", "cosine", "step", "restarts", "onecycle"])
def test_the_rate_of_thresholds_follows_that_of_weights_all_along(begin, optimizer, schedule):
    settings = {"optimizer": optimizer, "schedule": schedule, "lr": 0.02, "lr_every": 1}
    rows, _ = followed(begin("adaptive", 3, settings=settings, **GOAL))
    assert len(rows) == 12
    assert all(own == pytest.approx(RATE * lr, rel=1e-9) for _, _, own, lr in rows)
    if schedule != "constant":
        assert len({lr for _, _, _, lr in rows}) > 2
    if schedule != "onecycle":  # which begins low
        assert rows[0][2:] == pytest.approx((0.005, 0.02))


def test_a_threshold_takes_plain_steps_down_its_own_gradient_without_decay(begin):
    settings = {
        "lr": 0.1, "momentum": 0, "nesterov": False, "weight_decay": 0.4, "schedule": "constant",
    }  # fmt: skip
    rows, b = followed(begin("adaptive", 2, settings=settings, **GOAL))
    after = [*(row[0] for row in rows[1:]), b]
    for (before, slope, _, _), now in zip(rows, after, strict=True):
        assert slope.abs().min() > 0
        torch.testing.assert_close(now, before - 0.025 * slope, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_the_first_step_of_adam_is_the_rate_whatever_the_decay(begin, optimizer):
    settings = {
        "optimizer": optimizer, "lr": 0.1, "weight_decay": 0.9, "schedule": "constant",
    }  # fmt: skip
    rows, _ = followed(begin("adaptive", 2, settings=settings, **GOAL))
    moved = rows[1][0] - rows[0][0]
    assert moved.tolist() == pytest.approx((-0.025 * rows[0][1].sign()).tolist(), rel=1e-3)


@pytest.mark.parametrize("estimate", ["count", "gauss"])
def test_thrown_about_a_threshold_stays_within_its_limits(begin, estimate):
    run = begin(
        "adaptive", 3, density=0.5, least=200, rate=50.0, lam=1.0, lower="3.weight:0.2",
        upper="0.9", estimate=estimate, settings={"lr": 0.1, "schedule": "constant"},
    )  # fmt: skip
    ends = []
    run.go(lambda step: ends.append(run.pruner.b.tolist()))
    assert len(ends) == 12
    for floor, values in zip((z(0.2), 0.0), zip(*ends, strict=True), strict=True):
        assert min(values) > floor - 1e-5
        assert max(values) < z(0.9) + 1e-5
        assert any(abs(each - end) < 1e-5 for each in values for end in (floor, z(0.9)))


MACS = {"0.weight": 6400, "3.weight": 1944, "6.weight": 864, "8.weight": 160}
"""Of `network` on images of 28x28: 8x8 and 3x3 places times the weights of a convolution."""


@pytest.mark.parametrize("goal", [{"density": 0.3}, {"flops": 0.6}, {"density": 0.5, "flops": 0.8}])
def test_given_time_it_comes_near_its_budgets_by_the_count(begin, goal):
    settings = {"lr": 0.05, "schedule": "constant"}
    run = begin("adaptive", 15, least=100, rate=0.5, settings=settings, **goal)
    run.go()
    kept = {name: int(bits.sum()) for name, bits in run.mask().items()}
    sizes = {name: bits.numel() for name, bits in run.mask().items()}
    reached = {
        "density": sum(kept.values()) / 1340,
        "flops": sum(MACS[name] * kept[name] / sizes[name] for name in MACS) / 9368,
    }
    assert {name: reached[name] for name in goal} == pytest.approx(goal, abs=0.03)
