import pytest
import torch
from torch import nn
from torch.autograd.functional import hessian
from torch.func import functional_call
from torch.nn import functional as F

from prunecli.errors import BadUsage
from prunecli.masks.select import select
from prunecli.network.layers import prunable
from prunecli.scorers.obd import obd


class Data:
    def __init__(self, *sizes):
        draw = torch.Generator().manual_seed(1)
        self.batches = [
            (torch.randn(n, 3, generator=draw, dtype=torch.float64), torch.arange(n) % 3)
            for n in sizes
        ]

    def __iter__(self):
        return iter(self.batches)

    def per_class(self, count):
        draw = torch.Generator().manual_seed(count)
        images = torch.randn(3 * count, 3, generator=draw, dtype=torch.float64)
        return images, torch.arange(3 * count) % 3


def network(activation=nn.Tanh):
    torch.manual_seed(0)
    layers = [nn.Linear(3, 6), activation(), nn.Linear(6, 5), activation(), nn.Linear(5, 3)]
    return nn.Sequential(*layers).double()


def by_the_whole_hessian(model, batches):
    """h_kk * w_k^2 / 2 with the diagonals of the matrices of all second derivatives, averaged."""
    weights = {name: w.detach() for name, w in prunable(model).items()}
    scores = {}
    for name, weight in weights.items():
        diagonal = torch.zeros_like(weight).flatten()
        for images, labels in batches:

            def loss(w, name=name, images=images, labels=labels):
                return F.cross_entropy(functional_call(model, {name: w}, (images,)), labels)

            whole = hessian(loss, weight).reshape(weight.numel(), weight.numel())
            diagonal += whole.diag() / len(batches)
        scores[name] = diagonal.reshape(weight.shape) * weight**2 / 2
    return scores


def flat(scores):
    return torch.cat([each.detach().flatten() for each in scores.values()])


def distance(scores, expected):
    return float((flat(scores) - flat(expected)).norm() / flat(expected).norm())


@pytest.mark.parametrize("sizes", [(9,), (9, 6, 6)])
def test_exact_is_the_diagonal_of_the_true_hessian(sizes):
    model, data = network(), Data(*sizes)
    assert sum(p.numel() for p in model.parameters()) <= 200
    expected = by_the_whole_hessian(model, data.batches)
    scores = obd(model, data, hessian="exact")
    assert scores.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(scores[name], expected[name], rtol=1e-9, atol=1e-14)


def test_only_the_batches_asked_for_count():
    model, data = network(), Data(9, 6, 6)
    expected = by_the_whole_hessian(model, data.batches[:2])
    assert distance(obd(model, data, hessian="exact", batches=2), expected) < 1e-9
    assert distance(obd(model, data, hessian="exact", batches=3), expected) > 1e-3


def test_four_batches_unless_told_otherwise():
    model, data = network(), Data(3, 3, 3, 3, 3)
    ours, four = obd(model, data), obd(model, data, batches=4)
    assert torch.equal(flat(ours), flat(four))
    assert distance(ours, obd(model, data, batches=5)) > 1e-3


def test_per_class_takes_its_own_batch():
    model, data = network(), Data(9)
    expected = by_the_whole_hessian(model, [data.per_class(2)])
    assert distance(obd(model, data, hessian="exact", per_class=2), expected) < 1e-9


def test_negative_curvature_ranks_below_zero():
    model, data = network(), Data(9)
    with torch.no_grad():
        model[2].weight[:, 0] = 0  # weights that score exactly 0
    scores = obd(model, data, hessian="exact")
    expected = by_the_whole_hessian(model, data.batches)
    below = sum(int((each < 0).sum()) for each in expected.values())
    zero = sum(int((each == 0).sum()) for each in expected.values())
    total = len(flat(expected))
    assert below > 3 and zero >= 5 and total - below - zero > 3
    kept = select(scores, (total - below) / total)
    for name, mask in kept.items():
        assert torch.equal(mask, expected[name] >= 0)


def test_hutchinson_converges_to_exact():
    model, data = network(), Data(9)
    expected = obd(model, data, hessian="exact")
    errors = [distance(obd(model, data, probes=probes), expected) for probes in (2, 50, 1500)]
    assert errors[0] > 3 * errors[1] > 9 * errors[2]
    assert errors[2] < 0.25


def test_hutchinson_is_the_default():
    model, data = network(), Data(9)
    assert torch.equal(flat(obd(model, data)), flat(obd(model, data, hessian="hutchinson")))
    assert torch.equal(flat(obd(model, data)), flat(obd(model, data, probes=16)))


@pytest.mark.parametrize("method", ["hutchinson", "ggn"])
def test_estimates_repeat_with_the_seed(method):
    def run(seed):
        torch.manual_seed(seed + 10)  # the global state plays no part
        model = network()
        torch.manual_seed(seed + 10)
        return flat(obd(model, Data(9, 6), hessian=method, probes=2, seed=seed))

    assert torch.equal(run(1), run(1))
    assert not torch.allclose(run(1), run(2))


def by_gauss_newton(model, images):
    """Per image n, class c and weight k: p_c (dz_c/dw_k - sum_d p_d dz_d/dw_k)^2."""
    weights = prunable(model)
    total = {name: torch.zeros_like(w) for name, w in weights.items()}
    for image in images:
        z = model(image[None])[0]
        p = z.softmax(0).detach()
        slopes = [
            torch.autograd.grad(each, list(weights.values()), retain_graph=True) for each in z
        ]
        for i, name in enumerate(weights):
            mean = sum(p[d] * slopes[d][i] for d in range(len(p)))
            for c in range(len(p)):
                total[name] += p[c] * (slopes[c][i] - mean) ** 2 / len(images)
    return {name: h * weights[name].detach() ** 2 / 2 for name, h in total.items()}


def test_ggn_converges_to_the_explicit_gauss_newton_diagonal():
    model, data = network(), Data(9)
    expected = by_gauss_newton(model, data.batches[0][0])
    scores = [obd(model, data, hessian="ggn", probes=probes) for probes in (2, 2000)]
    assert all((flat(each) >= 0).all() for each in scores)
    errors = [distance(each, expected) for each in scores]
    assert errors[1] < 0.06 < 0.12 < errors[0]
    # The network bends, so this is not the Hessian.
    assert distance(expected, obd(model, data, hessian="exact")) > 0.1


def test_ggn_of_a_logistic_regression_is_the_hessian():
    torch.manual_seed(0)
    model, data = nn.Sequential(nn.Linear(3, 3)).double(), Data(9, 6)
    expected = obd(model, data, hessian="exact")
    assert distance(obd(model, data, hessian="ggn", probes=2000), expected) < 0.05


def test_ggn_is_the_hessian_of_a_piecewise_linear_network():
    # Each single weight enters the logits linearly, so the diagonals are the same.
    model, data = network(nn.ReLU), Data(9)
    expected = obd(model, data, hessian="exact")
    assert distance(by_gauss_newton(model, data.batches[0][0]), expected) < 1e-9
    assert distance(obd(model, data, hessian="ggn", probes=2000), expected) < 0.08


@pytest.mark.parametrize("method", ["exact", "hutchinson", "ggn"])
def test_nothing_is_left_in_grad(method):
    model = network()
    obd(model, Data(3), hessian=method)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("probes", [0, -1])
def test_no_probe_at_all_is_bad_usage(probes):
    with pytest.raises(BadUsage, match=f"probes={probes}: at least one"):
        obd(network(), Data(4), probes=probes)


def test_no_batch_at_all_is_bad_usage():
    with pytest.raises(BadUsage, match="batches=0"):
        obd(network(), Data(9), batches=0)
