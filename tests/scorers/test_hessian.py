"""Diagonals of Hessians, against the whole matrix."""

import math

import pytest
import torch
from torch.autograd.functional import hessian, jacobian
from torch.nn import functional as F

from prunecli.scorers._hessian import exact, gauss_newton, hutchinson


def quadratic(a, linear=None):
    """w'Aw / 2 + b'w at a point of ones and twos, and the point."""
    draw = torch.Generator().manual_seed(0)
    w = (torch.randint(1, 3, (len(a),), generator=draw).double()).requires_grad_()
    b = torch.zeros_like(w) if linear is None else linear
    return w @ a @ w / 2 + b @ w, w


def symmetric(size):
    draw = torch.Generator().manual_seed(1)
    a = torch.randn(size, size, generator=draw, dtype=torch.float64)
    return (a + a.T) / 2


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_exact_on_a_quadratic_is_the_matrix_diagonal():
    a = symmetric(6)
    loss, w = quadratic(a, linear=torch.arange(6).double())
    (h,) = exact(loss, [w])
    torch.testing.assert_close(h, a.diag(), rtol=1e-12, atol=1e-12)
    assert (h < 0).any() and (h > 0).any()


def test_deleting_a_weight_at_the_minimum_costs_half_h_w_squared():
    # L = (w - w0)'A(w - w0) / 2 with w = w0: the gradient is zero, and the change is exact.
    a = symmetric(6)
    w0 = torch.tensor([-2.0, -1.0, 0.5, 1.0, 2.0, 3.0], dtype=torch.float64)

    def loss(w):
        return (w - w0) @ a @ (w - w0) / 2

    w = w0.clone().requires_grad_()
    (h,) = exact(loss(w), [w])
    for k in range(6):
        gone = w0.clone()
        gone[k] = 0
        change = float(loss(gone) - loss(w0))
        assert change == pytest.approx(float(h[k] * w0[k] ** 2 / 2), rel=1e-12)
        assert abs(change) > 0.01


def test_several_tensors_of_any_shape():
    torch.manual_seed(0)
    u, v = torch.randn(2, 3, dtype=torch.float64), torch.randn(4, dtype=torch.float64)

    def loss(u, v):
        return (u.sum() * v).tanh().sum() + (u**3).sum() + (v[0] * v[1]) ** 2

    ours = exact(loss(u.requires_grad_(), v.requires_grad_()), [u, v])
    whole = hessian(loss, (u.detach(), v.detach()))
    for i, (w, h) in enumerate(zip((u, v), ours, strict=True)):
        assert h.shape == w.shape
        expected = whole[i][i].reshape(w.numel(), w.numel()).diag().reshape(w.shape)
        torch.testing.assert_close(h, expected, rtol=1e-10, atol=1e-12)


def test_a_weight_the_loss_is_linear_in_has_no_curvature():
    w, v = torch.ones(3, requires_grad=True), torch.ones(2, requires_grad=True)
    linear, curved = exact((w * 5).sum() + (v**2).sum(), [w, v])
    assert linear.tolist() == [0, 0, 0]
    assert curved.tolist() == [2, 2]


def test_one_probe_is_exact_on_a_diagonal_matrix():
    diagonal = torch.tensor([3.0, -2.0, 0.0, 5.0], dtype=torch.float64)
    loss, w = quadratic(torch.diag(diagonal))
    (h,) = hutchinson(loss, [w], 1, generator())
    assert h.tolist() == pytest.approx(diagonal.tolist())


def test_hutchinson_converges_to_exact():
    # One probe is off at k by a sum of signs times a_jk, j != k: its variance is known.
    a = symmetric(8)
    spread = (a.square().sum(1) - a.diag().square()).sqrt()
    errors = []
    for probes in (4, 64, 4096):
        loss, w = quadratic(a)
        (h,) = hutchinson(loss, [w], probes, generator())
        away = (h - a.diag()).abs() / (spread / math.sqrt(probes))
        assert 0.3 < float(away.square().mean().sqrt()) < 2
        errors.append(float((h - a.diag()).norm()))
    assert errors[0] > 2 * errors[1] > 8 * errors[2]


def test_probes_are_signs_over_all_tensors_at_once():
    # With curvature between u and v only, h of a probe is the product of their two signs.
    u, v = torch.ones(1, requires_grad=True), torch.ones(1, requires_grad=True)
    draw, seen = generator(), set()
    for _ in range(20):
        one, two = hutchinson((u * v).sum(), [u, v], 1, draw)
        assert float(one) == float(two)
        seen.add(float(one))
    assert seen == {-1.0, 1.0}


def test_estimates_repeat_with_the_seed():
    def run(seed):
        loss, w = quadratic(symmetric(5))
        return hutchinson(loss, [w], 3, generator(seed))[0]

    assert torch.equal(run(1), run(1))
    assert not torch.allclose(run(1), run(2))


def classifier():
    draw = torch.Generator().manual_seed(2)
    images = torch.randn(5, 3, generator=draw, dtype=torch.float64)
    first = torch.randn(4, 3, generator=draw, dtype=torch.float64)
    second = torch.randn(3, 4, generator=draw, dtype=torch.float64)

    def logits(first, second):
        return torch.tanh(images @ first.T) @ second.T

    return logits, first, second


def by_jacobians(logits, *weights):
    """The mean over images of the diagonal of J'(diag(p) - pp')J, with every matrix explicit."""
    p = logits(*weights).softmax(1)
    totals = []
    for w, j in zip(weights, jacobian(logits, weights), strict=True):
        total = torch.zeros(w.numel(), dtype=torch.float64)
        for n in range(len(p)):
            inner = torch.diag(p[n]) - torch.outer(p[n], p[n])
            jn = j[n].reshape(p.shape[1], w.numel())
            total += (jn.T @ inner @ jn).diag() / len(p)
        totals.append(total.reshape(w.shape))
    return totals


def test_gauss_newton_converges_to_the_explicit_product():
    logits, *weights = classifier()
    expected = by_jacobians(logits, *weights)
    live = [w.clone().requires_grad_() for w in weights]
    errors = []
    for probes in (4, 2000):
        ours = gauss_newton(logits(*live), live, probes, generator())
        assert all((h >= 0).all() for h in ours)
        errors.append(
            math.sqrt(
                sum(float((h - e).square().sum()) for h, e in zip(ours, expected, strict=True))
            )
        )
    size = math.sqrt(sum(float(e.square().sum()) for e in expected))
    assert errors[1] < 0.05 * size < 0.1 * size < errors[0]


def test_gauss_newton_with_two_classes_by_hand():
    # p = (q, 1 - q) has the inner matrix q(1-q) (1 -1; -1 1): with logits (w x, 0) no chance is
    # left but the common sign, and every probe gives x^2 q (1 - q).
    w = torch.tensor([0.7], dtype=torch.float64, requires_grad=True)
    x = torch.tensor([[2.0]], dtype=torch.float64)
    logits = torch.cat([x * w, torch.zeros_like(x)], 1)
    q = 1 / (1 + math.exp(-1.4))
    h = gauss_newton(logits, [w], 4000, generator())[0]
    assert float(h) == pytest.approx(4 * q * (1 - q), rel=0.05)


def test_gauss_newton_of_a_linear_model_is_the_hessian():
    draw = torch.Generator().manual_seed(3)
    images = torch.randn(6, 4, generator=draw, dtype=torch.float64)
    labels = torch.arange(6) % 3
    w = torch.randn(3, 4, generator=draw, dtype=torch.float64, requires_grad=True)
    (h,) = exact(F.cross_entropy(images @ w.T, labels), [w])
    torch.testing.assert_close(by_jacobians(lambda w: images @ w.T, w.detach())[0], h)
    (estimate,) = gauss_newton(images @ w.T, [w], 3000, generator())
    assert float((estimate - h).norm()) < 0.05 * float(h.norm())
