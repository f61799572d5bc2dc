"""SynFlow on networks that the paper does not have: gates, other activations and normalisations."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision import models

from prunecli.errors import Mismatch
from prunecli.network.layers import prunable
from prunecli.scorers.synflow import synflow


class Shape:
    def __init__(self, *shape):
        self.input_shape = shape


class Gated(nn.Module):
    """Squeeze and excitation: x * gate(mean of x)."""

    def __init__(self, channels):
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(channels, 2, 1), nn.Conv2d(2, channels, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.fc2(F.silu(self.fc1(x.mean((2, 3), keepdim=True)))))


def chain(activation, norm=nn.BatchNorm2d, gates=0):
    """Convolutions in a row, so that everything passes each of them."""
    torch.manual_seed(0)
    layers, channels = [], 3
    for _ in range(max(4, gates)):
        layers += [nn.Conv2d(channels, 8, 3, padding=1), norm(8), activation()]
        layers += [Gated(8)] if gates else []
        channels = 8
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    return model.eval()


def group_norm(channels):
    return nn.GroupNorm(4, channels)


def clamped():
    class Clamped(nn.Module):
        def forward(self, x):
            return x.clamp(0, 6)

    return Clamped()


CHAINS = {
    "relu6": lambda: chain(nn.ReLU6),
    "clamped": lambda: chain(clamped),
    "hardswish": lambda: chain(nn.Hardswish),
    "gelu": lambda: chain(nn.GELU),
    "sigmoid": lambda: chain(nn.Sigmoid),
    "groups": lambda: chain(nn.ReLU, group_norm),
    "instances": lambda: chain(nn.ReLU, nn.InstanceNorm2d),
    "gates": lambda: chain(nn.SiLU, gates=16),
}


@pytest.mark.parametrize("build", CHAINS.values(), ids=CHAINS)
def test_what_all_must_pass_adds_up_to_1(build):
    model = build()
    scores = synflow(model, Shape(3, 8, 8), conserve=True)
    passed = [name for name in scores if ".fc" not in name]
    assert len(passed) >= 5
    for name in passed:
        assert float(scores[name].sum()) == pytest.approx(1, rel=1e-10)
    for name in scores.keys() - set(passed):
        assert 0 < float(scores[name].sum()) < 1
    assert all(score.min() > 0 for score in scores.values())


@pytest.mark.parametrize("build", CHAINS.values(), ids=CHAINS)
def test_no_score_is_below_zero_with_biases(build):
    scores = synflow(build(), Shape(3, 8, 8))
    assert all(score.min() > 0 and score.isfinite().all() for score in scores.values())


def test_a_gate_and_what_it_multiplies_share_by_hand():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.main, self.gate = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
            self.last = nn.Linear(1, 1, bias=False)

        def forward(self, x):
            return self.last(self.main(x) * torch.sigmoid(self.gate(x)))

    model = Net()
    for layer, weight in zip(model.children(), (-4.0, 9.0, 2.0), strict=True):
        nn.init.constant_(layer.weight, weight)
    # R = 2 sqrt(4 * 9) = 12; dR/d4 = 2 * 9 / (2 * 6) = 1.5, dR/d9 = 2 * 4 / 12
    assert [float(s) for s in synflow(model, Shape(1)).values()] == pytest.approx([0.5, 0.5, 1])


def test_a_gate_that_is_shut_gives_zeros():
    model = chain(nn.SiLU, gates=4)
    nn.init.zeros_(model[3].fc2.weight)
    scores = synflow(model, Shape(3, 8, 8), conserve=True)
    assert all(score.isfinite().all() for score in scores.values())
    assert all(not score.any() for score in scores.values())


def test_a_gated_linear_unit_is_a_gate():
    class Halves(nn.Module):
        def forward(self, x):
            one, other = x.chunk(2, 1)
            return one * other.sigmoid()

    torch.manual_seed(0)
    first, last = nn.Linear(3, 8), nn.Linear(4, 2)
    written = synflow(nn.Sequential(first, Halves(), last), Shape(3))
    for name, score in synflow(nn.Sequential(first, nn.GLU(1), last), Shape(3)).items():
        torch.testing.assert_close(score, written[name], rtol=1e-12, atol=0)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.fc = nn.Linear(6, 18), nn.Linear(6, 2)

    def forward(self, x):
        q, k, v = self.qkv(x.flatten(2)).chunk(3, -1)
        return self.fc((torch.softmax(q @ k.transpose(1, 2), -1) @ v).mean(1))


REFUSED = {
    "matmul": (Attention, (4, 2, 3)),
    "pow_1": (lambda: nn.Sequential(nn.Linear(2, 3), Do(lambda x: x**2), nn.Linear(3, 2)), (2,)),
    "exp": (lambda: nn.Sequential(nn.Linear(2, 3), Do(torch.exp), nn.Linear(3, 2)), (2,)),
    "0": (lambda: nn.Sequential(nn.LocalResponseNorm(2), nn.Conv2d(3, 2, 1)), (3, 4, 4)),
}


class Do(nn.Module):
    def __init__(self, do):
        super().__init__()
        self.do = do

    def forward(self, x):
        return self.do(x)


@pytest.mark.parametrize(("name", "build", "shape"), [(n, *of) for n, of in REFUSED.items()])
def test_what_is_not_proportional_is_refused(name, build, shape):
    with pytest.raises(Mismatch) as caught:
        synflow(build().eval(), Shape(*shape))
    assert f"through '{name}' cannot be followed (it is not proportional to its input)" in str(
        caught.value
    )
    assert "only the method synflow needs this" in str(caught.value)


def test_weights_that_make_less_flow_are_refused():
    spread = Do(lambda x: x.std(1, keepdim=True))
    model = nn.Sequential(nn.Linear(1, 2, bias=False), spread)
    model[0].weight.data = torch.tensor([[1.0], [3.0]])
    with pytest.raises(Mismatch, match="lowers the flow"):
        synflow(model, Shape(1))


def test_amounts_beyond_a_float_change_the_unit_only():
    torch.manual_seed(0)
    depth = 12
    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(depth))).double()
    expected = synflow(model, Shape(4))
    for layer in model:
        layer.weight.data *= 1e60  # R is about 1e720
        layer.bias.data *= 0
    plain = synflow(model, Shape(4), conserve=True)
    for layer in model:
        layer.weight.data /= 1e60
    for name, score in synflow(model, Shape(4), conserve=True).items():
        torch.testing.assert_close(plain[name], score, rtol=1e-10, atol=0)
        assert not torch.equal(expected[name], score)  # there, biases counted


def test_a_unit_for_all_also_holds_for_biases_and_shortcuts(monkeypatch):
    model = chain(nn.SiLU, gates=6)
    expected = synflow(model, Shape(3, 8, 8))
    monkeypatch.setattr("prunecli.scorers.synflow.SAFE", 1.5)  # at nearly every layer
    for name, score in synflow(model, Shape(3, 8, 8)).items():
        torch.testing.assert_close(score, expected[name], rtol=1e-10, atol=0)


class Asking(nn.Module):
    """A forward with questions that shapes answer."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 2)
        self.unused = nn.Linear(4, 9)

    def forward(self, x):
        assert x.shape[1] == 3, f"{x.shape}"
        if len(x.shape) != 4 or x.size(2) != x.size(3):
            raise ValueError
        x = self.conv(x)
        if x.shape[1] > 2:
            x = torch.relu(x)
        batch, *_ = x.shape
        if self.training:
            return self.unused(x)
        return self.fc(x.reshape(batch, 4, -1).mean(2))


def test_a_forward_may_ask_for_shapes_and_leave_layers_for_training():
    model = Asking().eval()
    plain = nn.Sequential(model.conv, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), model.fc)
    expected = list(synflow(plain, Shape(3, 8, 8)).values())
    conv, fc, unused = synflow(model, Shape(3, 8, 8)).values()
    torch.testing.assert_close([conv, fc], expected, rtol=1e-12, atol=0)
    assert not unused.any()


def test_a_graph_is_made_anew_when_the_network_changes():
    model = nn.Sequential(nn.Linear(2, 3, bias=False), nn.Linear(3, 2, bias=False))
    synflow(model, Shape(2))
    model[1] = nn.Linear(3, 7, bias=False)
    assert synflow(model, Shape(2))["1.weight"].shape == (7, 3)


def rounds(model, shape, compression, rounds, conserve):
    """The weights left in each layer."""
    weights = prunable(model)
    total = sum(map(torch.numel, weights.values()))
    for done in range(1, rounds + 1):
        scores = synflow(model, Shape(*shape), conserve=conserve)
        flat = torch.cat([score.flatten() for score in scores.values()])
        keep = round(total * compression ** (-done / rounds))
        kept = torch.zeros(total, dtype=torch.bool)
        kept[flat.argsort(descending=True, stable=True)[:keep]] = True
        parts = kept.split([w.numel() for w in weights.values()])
        with torch.no_grad():
            for weight, part in zip(weights.values(), parts, strict=True):
                weight.masked_fill_(~part.reshape(weight.shape), 0)
    return {name: int(part.sum()) for name, part in zip(weights, parts, strict=True)}


@pytest.mark.parametrize("name", ["groups", "relu6", "gates"])
def test_rounds_empty_no_layer(name):
    # Biases are never pruned: a deep network without normalisations in its gates lives on them.
    left = rounds(CHAINS[name](), (3, 8, 8), 10, 100, conserve=name == "gates")
    assert min(left.values()) > 0


QUICK = "mobilenet_v3_small"
SLOW = ["mobilenet_v2", "efficientnet_b0", "regnet_y_400mf", "densenet121", "convnext_tiny"]


def network(name):
    torch.manual_seed(0)
    return getattr(models, name)().eval()


@pytest.mark.parametrize("conserve", [False, True])
@pytest.mark.parametrize("name", [QUICK, *(pytest.param(n, marks=pytest.mark.slow) for n in SLOW)])
def test_networks_of_torchvision(name, conserve):
    """Every weight has a share; the first and the last layer, which all must pass, have all."""
    scores = synflow(network(name), Shape(3, 224, 224), conserve=conserve)
    flat = torch.cat([score.flatten() for score in scores.values()])
    assert flat.isfinite().all()
    assert flat.min() >= 0
    assert (flat == 0).float().mean() < 1e-6  # weights that are drawn as zero
    sums = [
        math.fsum(score.flatten().tolist()) for score in (*scores.values(),)[:: len(scores) - 1]
    ]
    assert sums == pytest.approx([1, 1], rel=1e-9 if conserve else 0.05)


@pytest.mark.slow
@pytest.mark.parametrize("name", [QUICK, *SLOW])
def test_rounds_empty_no_layer_of_networks_of_torchvision(name):
    conserve = name == "convnext_tiny"  # else its scales of 1e-6 count
    left = rounds(network(name), (3, 64, 64), 10, 100, conserve)
    # A shortcut's projection may go: what a deeper branch beside it carries passes all the same.
    assert min(count for layer, count in left.items() if ".proj." not in layer) > 0


@pytest.mark.parametrize("name", ["vit_b_16", "swin_t"])
def test_attention_is_refused(name):
    with torch.device("meta"):
        model = getattr(models, name)().eval()
    with pytest.raises(Mismatch, match="need this") as caught:
        synflow(model, Shape(3, 224, 224))
    assert "\n" not in str(caught.value)
