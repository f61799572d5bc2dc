"""What flows through a network past its layers: scales, shifts and normalisations of its own."""

import copy
import operator

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models import convnext_tiny
from torchvision.ops import FrozenBatchNorm2d

from prunecli.errors import Mismatch
from prunecli.network.collapse import diagnosis, live_weights
from prunecli.network.layers import prunable
from prunecli.scorers.lookahead import lookahead


class Shape:
    def __init__(self, *shape):
        self.input_shape = shape


class Between(nn.Module):
    """Does something between two convolutions of four channels: `do(self, x, self.v)`."""

    def __init__(self, do, v=(0.5, -0.5, 0.1, -2.0), norm=None):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(2, 4, 1), nn.Conv2d(4, 4, 1)
        self.fc = nn.Linear(4, 3)
        self.v = nn.Parameter(torch.tensor(v).reshape(-1, 1, 1))
        self.register_buffer("w", torch.tensor(v))
        self.norm = norm if norm is not None else nn.BatchNorm2d(4)
        self.do = do

    def forward(self, x):
        x = torch.relu(self.first(x))
        x = x + self.do(self, self.second(x), self.v)
        return self.fc(torch.relu(x).mean((2, 3)))


def folded(model, by):
    """The same network, its second convolution's rows multiplied, its own scale 1 or nothing."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        model.second.weight *= by.reshape(-1, 1, 1, 1)
    model.do = lambda m, x, v: x
    return model


def same_scores(one, other, shape=(2, 3, 3)):
    ours, theirs = lookahead(one, Shape(*shape)), lookahead(other, Shape(*shape))
    for name in theirs:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-5, atol=1e-9)
    return ours


def whole(model):
    return {name: torch.ones(w.shape, dtype=torch.bool) for name, w in prunable(model).items()}


def last_axis(x):
    return x.permute(0, 2, 3, 1)


def channels_last(do):
    return lambda m, x, v: do(m, last_axis(x), v.flatten()).permute(0, 3, 1, 2)


SCALES = {
    "parameter": (lambda m, x, v: v * x, lambda v: v),
    "buffer": (lambda m, x, v: x * m.w.view(-1, 1)[..., None], lambda v: v),
    "method": (lambda m, x, v: x.mul(v), lambda v: v),
    "in place": (lambda m, x, v: x.mul_(v), lambda v: v),
    "permuted": (channels_last(lambda m, x, v: x * v), lambda v: v),
    "computed": (lambda m, x, v: x * (1 + v).exp(), lambda v: (1 + v).exp()),
    "divisor": (lambda m, x, v: x / v, lambda v: 1 / v),
    "number": (lambda m, x, v: -3 * x, lambda v: torch.full_like(v, -3)),
    "quotient": (lambda m, x, v: x / 4, lambda v: torch.full_like(v, 0.25)),
    "twice": (lambda m, x, v: (x * v - v) * v * 2 + v, lambda v: 2 * v * v),
}


@pytest.mark.parametrize(("do", "by"), SCALES.values(), ids=SCALES)
def test_a_scale_is_as_if_folded_into_the_convolution(do, by):
    model = Between(do)
    with torch.no_grad():  # the fold is one: else nothing could be said of the scores
        factor, x = by(model.v), torch.randn(1, 4, 3, 3)
        shift = do(model, torch.zeros_like(x), model.v)
        torch.testing.assert_close(do(model, x.clone(), model.v), x * factor + shift)
    scores = same_scores(model, folded(model, factor))
    plain = lookahead(folded(model, torch.ones(4)), Shape(2, 3, 3))
    for name in ("first.weight", "second.weight", "fc.weight"):
        assert not torch.allclose(scores[name], plain[name], rtol=1e-2)


@pytest.mark.parametrize(("do", "by"), SCALES.values(), ids=SCALES)
def test_a_scale_does_not_close_a_path_whatever_its_sign(do, by):
    model = Between(do)
    mask = whole(model)
    assert diagnosis(mask, model, (2, 3, 3)).effective_density == 1
    mask["first.weight"][:] = False
    assert diagnosis(mask, model, (2, 3, 3)).live_path is False  # nor does it open one


def test_a_scale_of_zero_closes_a_channel():
    model = Between(lambda m, x, v: x * v, v=(1.0, 0.0, -1.0, 2.0))
    live = live_weights(whole(model), model, (2, 3, 3))
    assert live["second.weight"].flatten(1).sum(1).tolist() == [4, 0, 4, 4]
    assert all(live[name].all() for name in ("first.weight", "fc.weight"))  # by the shortcut


def test_scores_by_hand():
    model = nn.Sequential(nn.Linear(1, 2, bias=False), nn.Identity(), nn.Linear(2, 1, bias=False))
    model[0].weight.data = torch.tensor([[3.0], [4.0]])
    model[2].weight.data = torch.tensor([[5.0, -7.0]])

    class Scale(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.tensor([-0.5, 10.0]))

        def forward(self, x):
            return self.scale * x + 1

    model[1] = Scale()
    scores = lookahead(model, Shape(1))
    assert scores["0.weight"].flatten().tolist() == pytest.approx([3 * 0.5 * 5, 4 * 10 * 7])
    assert scores["2.weight"].flatten().tolist() == pytest.approx([5 * 0.5 * 3, 7 * 10 * 4])


SHIFTS = {
    "parameter": lambda m, x, v: x + v,
    "from the left": lambda m, x, v: v - x,
    "in place": lambda m, x, v: x.add_(v),
    "augmented": lambda m, x, v: operator.iadd(x, v),
    "number": lambda m, x, v: 3 - x,
    "negative": lambda m, x, v: -x,
}


@pytest.mark.parametrize("do", SHIFTS.values(), ids=SHIFTS)
def test_what_is_added_brings_nothing(do):
    model, plain = Between(do), Between(lambda m, x, v: x)
    same_scores(model, plain)
    mask = whole(model)
    mask["second.weight"][2] = False
    assert torch.equal(live_weights(mask, model, (2, 3, 3))["second.weight"], mask["second.weight"])
    for name in ("first.weight", "second.weight"):
        mask[name][:] = False
    assert diagnosis(mask, model, (2, 3, 3)).live_path is False


def test_a_difference_does_not_cancel():
    add, subtract = Between(lambda m, x, v: x + x), Between(lambda m, x, v: x - x)
    same_scores(subtract, add)
    assert diagnosis(whole(subtract), subtract, (2, 3, 3)).effective_density == 1


def trained(norm):
    torch.manual_seed(1)
    for name, tensor in [*norm.named_parameters(), *norm.named_buffers()]:
        if tensor.is_floating_point():
            tensor.data.uniform_(0.3, 3) if "var" in name else tensor.data.normal_()
    return norm.eval()


NORMS = {
    "layer": (
        nn.LayerNorm(4),
        channels_last(lambda m, x, v: m.norm(x)),
        channels_last(lambda m, x, v: F.layer_norm(x, (4,), m.norm.weight, m.norm.bias, 1e-3)),
    ),
    "rms": (
        nn.RMSNorm(4),
        channels_last(lambda m, x, v: m.norm(x)),
        channels_last(lambda m, x, v: F.rms_norm(x, (4,), m.norm.weight)),
    ),
    "group": (
        nn.GroupNorm(2, 4),
        lambda m, x, v: m.norm(x),
        lambda m, x, v: F.group_norm(x, 2, bias=m.norm.bias, weight=m.norm.weight),
    ),
    "instance": (
        nn.InstanceNorm2d(4, affine=True),
        lambda m, x, v: m.norm(x),
        lambda m, x, v: F.instance_norm(x, weight=m.norm.weight, bias=m.norm.bias),
    ),
    "batch": (
        nn.BatchNorm2d(4, eps=0.1),
        lambda m, x, v: m.norm(x),
        lambda m, x, v: F.batch_norm(
            x, m.norm.running_mean, m.norm.running_var, m.norm.weight, m.norm.bias, eps=0.1
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("norm", "module", "functional"), NORMS.values(), ids=NORMS)
def test_a_functional_normalisation_is_as_the_module(norm, module, functional):
    norm = trained(norm)
    ours = Between(functional, norm=norm)
    theirs = Between(module, norm=norm)
    scores = same_scores(ours.eval(), theirs.eval())
    variance = getattr(norm, "running_var", None)
    by = norm.weight if variance is None else norm.weight / (variance + norm.eps).sqrt()
    same_scores(ours, folded(ours, by))
    plain = lookahead(folded(ours, torch.ones(4)), Shape(2, 3, 3))
    assert not torch.allclose(scores["second.weight"], plain["second.weight"], rtol=1e-2)
    for model in (ours, theirs):
        mask = whole(model)
        assert diagnosis(mask, model, (2, 3, 3)).effective_density == 1
        mask["first.weight"][:] = False
        assert diagnosis(mask, model, (2, 3, 3)).live_path is False


def test_a_frozen_batch_normalisation_is_as_the_module():
    """It computes its scale and its shift in the graph, from its buffers."""
    norm = trained(nn.BatchNorm2d(4, eps=0.1))
    ours = Between(lambda m, x, v: m.norm(x), norm=FrozenBatchNorm2d(4, eps=0.1))
    ours.norm.load_state_dict({k: v for k, v in norm.state_dict().items() if "num" not in k})
    same_scores(ours, Between(lambda m, x, v: m.norm(x), norm=norm))
    same_scores(ours, folded(ours, norm.weight / (norm.running_var + norm.eps).sqrt()))
    assert diagnosis(whole(ours), ours, (2, 3, 3)).effective_density == 1


def test_a_normalisation_whose_weight_starts_at_zero_lets_paths_through():
    for do in NORMS["batch"][1:]:
        model = Between(do).eval()
        nn.init.zeros_(model.norm.weight)
        assert diagnosis(whole(model), model, (2, 3, 3)).effective_density == 1


UNTOLD = {
    "product": lambda m, x, v: (last_axis(x) @ torch.outer(m.w, m.w)).permute(0, 3, 1, 2),
    "convolution": lambda m, x, v: F.conv2d(x, torch.outer(m.w, m.w)[..., None, None]),
    "concatenation": lambda m, x, v: torch.cat([x[:, :3], v[None, :1].expand(1, 1, 3, 3)], 1),
    "divided by itself": lambda m, x, v: x / x.sum(1, keepdim=True),
    "number over it": lambda m, x, v: 1 / x,
    "reciprocal root": lambda m, x, v: x * (x.var(1, keepdim=True) + 1e-6).rsqrt(),
    "scaled sum": lambda m, x, v: torch.add(x, x, alpha=-1),
    "weights from the input": lambda m, x, v: F.group_norm(x, 1, x.mean((0, 2, 3))),
    "a layer of constants": lambda m, x, v: x + m.fc(m.w).sum(),
}


@pytest.mark.parametrize("do", UNTOLD.values(), ids=UNTOLD)
def test_what_cannot_be_told_is_said(do):
    model = Between(do)
    with pytest.raises(Mismatch, match="the flow through '") as caught:
        lookahead(model, Shape(2, 3, 3))
    assert "\n" not in str(caught.value)
    found = diagnosis(whole(model), model, (2, 3, 3))
    assert (found.effective_density, found.live_path) == (None, None)


KEPT = {
    "sizes": lambda m, x, v: x.reshape(x.size(0) * 2 // 2, -1, x.shape[2] + 1 - 1, x.shape[3]),
    "zeros as padding": lambda m, x, v: torch.cat([x, torch.zeros(1, 2, 3, 3)], 1)[:, :4],
    "indices": lambda m, x, v: x[:, torch.arange(3, -1, -1)].flip(1),
    "comparison": lambda m, x, v: x * (x > 0),
    "sum from zero": lambda m, x, v: sum([x]),
}


@pytest.mark.parametrize("do", KEPT.values(), ids=KEPT)
def test_shapes_and_indices_are_no_amounts(do):
    model = Between(do)
    same_scores(model, Between(lambda m, x, v: x))
    assert diagnosis(whole(model), model, (2, 3, 3)).effective_density == 1


def test_a_convnext_is_alive():
    """Its normalisation is functional, and every block has a scale of 1e-6."""
    torch.manual_seed(0)
    model = convnext_tiny().eval()
    draw = torch.Generator().manual_seed(1)
    mask = {n: torch.rand(w.shape, generator=draw) < 0.9 for n, w in prunable(model).items()}
    assert 0.85 < diagnosis(mask, model, (3, 32, 32)).effective_density < 0.9
    for scores in lookahead(model, Shape(3, 32, 32)).values():
        assert scores.isfinite().all()
        assert (scores > 0).any()
