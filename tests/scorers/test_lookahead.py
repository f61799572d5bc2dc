import copy
import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from prunecli.errors import Mismatch
from prunecli.models._resnet import Block
from prunecli.network.layers import prunable
from prunecli.scorers.lookahead import lookahead


class Shape:
    """No data: only the shape of the input may be asked for."""

    def __init__(self, *shape):
        self.input_shape = shape

    def __iter__(self):
        raise AssertionError("lookahead opened the data set")

    per_class = __iter__


def edges(layer, norm=None):
    """Every weight of a layer: its place, the channel it reads, the one it writes, its size.

    A batch normalisation right behind the layer multiplies by |gamma| / sqrt(var + eps).
    """
    groups = getattr(layer, "groups", 1)
    for place in itertools.product(*(range(n) for n in layer.weight.shape)):
        value = abs(float(layer.weight[place].detach()))
        if isinstance(layer, nn.ConvTranspose2d):
            group = place[0] // (layer.in_channels // groups)
            reads, writes = place[0], group * layer.weight.shape[1] + place[1]
        else:
            group = place[0] // (layer.weight.shape[0] // groups)
            reads, writes = group * layer.weight.shape[1] + place[1], place[0]
        if norm is not None:
            gamma = abs(float(norm.weight[writes].detach())) if norm.affine else 1.0
            value *= gamma / math.sqrt(float(norm.running_var[writes]) + norm.eps)
        yield place, reads, writes, value


def rows(layer, norm=None):
    """The squared norm of what feeds each output channel."""
    squares = {}
    for _, _, writes, value in edges(layer, norm):
        squares[writes] = squares.get(writes, 0) + value**2
    return squares


def columns(layer, norm=None, area=1):
    """The squared norm of what reads each input channel of `area` features."""
    squares = {}
    for _, reads, _, value in edges(layer, norm):
        squares[reads // area] = squares.get(reads // area, 0) + value**2
    return squares


def plus(one, two):
    return {c: one.get(c, 0) + two.get(c, 0) for c in one | two}


def score(layer, before=None, after=None, norm=None, area=1):
    """|w| times the norms on either side; `area` input features belong to one channel."""
    scores = torch.zeros(layer.weight.shape, dtype=torch.float64)
    for place, reads, writes, value in edges(layer, norm):
        left = before[reads // area] if before else 1.0
        right = after[writes] if after else 1.0
        scores[place] = value * math.sqrt(left * right)
    return scores


def check(model, shape, expected, **options):
    scores = lookahead(model, Shape(*shape), **options)
    assert scores.keys() == {f"{name}.weight" for name in expected}
    for name, slow in expected.items():
        assert slow.unique().numel() > 1
        torch.testing.assert_close(scores[f"{name}.weight"].double(), slow, rtol=1e-5, atol=1e-9)


def randomise(model):
    """Normalisations as after a training: no statistic is what it was at the start."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.1, 3)
    return model.eval()


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def test_is_the_change_of_the_product_of_linear_layers():
    model = nn.Sequential(nn.Linear(3, 6), nn.Linear(6, 5), nn.Linear(5, 4), nn.Linear(4, 2))
    scores = lookahead(model, Shape(3))
    matrices = [layer.weight.detach().double() for layer in model]
    for i, w in enumerate(matrices):
        before = matrices[i - 1] if i else torch.eye(w.shape[1], dtype=torch.float64)
        after = matrices[i + 1] if i < 3 else torch.eye(w.shape[0], dtype=torch.float64)
        for k, j in itertools.product(*map(range, w.shape)):
            without = w.clone()
            without[k, j] = 0
            change = after @ w @ before - after @ without @ before
            assert float(scores[f"{i}.weight"][k, j]) == pytest.approx(float(change.norm()))


def test_a_missing_neighbour_counts_as_1():
    model = nn.Sequential(nn.Linear(3, 2))
    found = lookahead(model, Shape(3))["0.weight"]
    torch.testing.assert_close(found.float(), model[0].weight.detach().abs())


def test_by_hand():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    model[0].weight.data = torch.tensor([[3.0, -4.0], [0.0, 2.0]])
    model[2].weight.data = torch.tensor([[-0.5, 7.0]])
    scores = lookahead(model, Shape(2))
    assert scores["0.weight"].tolist() == [pytest.approx([1.5, 2.0]), pytest.approx([0.0, 14.0])]
    assert scores["2.weight"].tolist() == [pytest.approx([2.5, 14.0])]


def test_batch_normalisation_is_as_if_folded():
    model = randomise(
        nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4, eps=0.1), nn.ReLU(),
            nn.Conv2d(4, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(12, 5), nn.BatchNorm1d(5, eps=0.5), nn.ReLU(), nn.Linear(5, 3),
        )
    )  # fmt: skip
    assert any((module.weight < 0).any() for module in model if hasattr(module, "running_var"))
    folded = copy.deepcopy(model)
    for i, fuse in ((0, fuse_conv_bn_eval), (3, fuse_conv_bn_eval), (8, fuse_linear_bn_eval)):
        folded[i], folded[i + 1] = fuse(model[i], model[i + 1]), nn.Identity()
    ours, theirs = lookahead(model, Shape(2, 8, 8)), lookahead(folded, Shape(2, 8, 8))
    assert list(ours) == list(theirs) == ["0.weight", "3.weight", "8.weight", "11.weight"]
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-4, atol=1e-9)
    plain = copy.deepcopy(model)
    plain[1] = nn.Identity()
    assert not torch.allclose(ours["0.weight"], lookahead(plain, Shape(2, 8, 8))["0.weight"])


def test_batch_normalisation_without_gamma_divides_by_the_deviation():
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3, affine=False), nn.Linear(3, 2)).eval()
    model[1].running_var.copy_(torch.tensor([0.25, 4.0, 1.0]) - model[1].eps)
    first, norm, last = model
    expected = {
        "0": score(first, after=columns(last), norm=norm),
        "2": score(last, rows(first, norm)),
    }
    check(model, (2,), expected)
    reads = float(last.weight[:, 1].detach().norm())
    found = lookahead(model, Shape(2))["0.weight"][1, 0]
    assert float(found) == pytest.approx(abs(float(first.weight[1, 0].detach())) / 2 * reads)


def test_convolution_flattened_into_a_linear_layer():
    model = nn.Sequential(nn.Conv2d(2, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(18, 4))
    conv, _, _, linear = model
    expected = {
        "0": score(conv, after=columns(linear, area=6)),
        "3": score(linear, rows(conv), area=6),
    }
    check(model, (2, 3, 4), expected)
    # Every column of the linear layer that belongs to channel 1, in so many words:
    reads = linear.weight.detach().double()[:, 6:12].norm()
    found = lookahead(model, Shape(2, 3, 4))["0.weight"][1]
    torch.testing.assert_close(found.double(), conv.weight.detach()[1].double().abs() * reads)


@pytest.mark.parametrize(
    "pool",
    [
        nn.MaxPool2d(2), nn.MaxPool2d(3, stride=2, padding=1), nn.AvgPool2d(2),
        nn.MaxPool2d(2, ceil_mode=True), nn.AdaptiveAvgPool2d(2), nn.AdaptiveMaxPool2d(2),
    ],
    ids=repr,
)  # fmt: skip
def test_convolution_pooled_and_flattened_into_a_linear_layer(pool):
    model = nn.Sequential(nn.Conv2d(2, 3, 1), nn.ReLU(), pool, nn.Flatten(), nn.Linear(12, 4))
    conv, linear = model[0], model[4]
    expected = {
        "0": score(conv, after=columns(linear, area=4)),
        "4": score(linear, rows(conv), area=4),
    }
    check(model, (2, 4, 4), expected)


def test_depthwise_and_grouped_convolutions():
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.ReLU(),
        nn.Conv2d(4, 8, 3, groups=4), nn.ReLU(),
        nn.Conv2d(8, 6, 1, groups=2), nn.ReLU(),
        nn.Conv2d(6, 6, 2, groups=6, padding=1), nn.Flatten(), nn.Linear(150, 3),
    )  # fmt: skip
    first, depthwise, halves, last, linear = (m for m in model if hasattr(m, "weight"))
    expected = {
        "0": score(first, after=columns(depthwise)),
        "2": score(depthwise, rows(first), columns(halves)),
        "4": score(halves, rows(depthwise), columns(last)),
        "6": score(last, rows(halves), columns(linear, area=25)),
        "8": score(linear, rows(last), area=25),
    }
    check(model, (2, 8, 8), expected)


@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_convolution(groups):
    model = nn.Sequential(
        nn.Conv2d(2, 4, 2), nn.ReLU(),
        nn.ConvTranspose2d(4, 6, 3, stride=2, groups=groups), nn.ReLU(),
        nn.Conv2d(6, 2, 1),
    )  # fmt: skip
    first, transposed, last = model[0], model[2], model[4]
    expected = {
        "0": score(first, after=columns(transposed)),
        "2": score(transposed, rows(first), columns(last)),
        "4": score(last, rows(transposed)),
    }
    check(model, (2, 4, 4), expected)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1)
        self.conv1 = nn.Conv2d(4, 5, 3, padding=1)
        self.conv2 = nn.Conv2d(5, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.fc = nn.Linear(36, 3)

    def forward(self, x):
        x = F.relu(self.stem(x))
        x = torch.relu(x + self.bn(self.conv2(self.conv1(x).relu())))
        return self.fc(torch.flatten(x, 1))


def test_residual_block():
    """Two layers feed the classifier, and two read the stem: their squares add up."""
    m = randomise(Residual())
    head = columns(m.fc, area=9)
    expected = {
        "stem": score(m.stem, after=plus(columns(m.conv1), head)),
        "conv1": score(m.conv1, rows(m.stem), columns(m.conv2, m.bn)),
        "conv2": score(m.conv2, rows(m.conv1), head, m.bn),
        "fc": score(m.fc, plus(rows(m.stem), rows(m.conv2, m.bn)), area=9),
    }
    check(m, (2, 3, 3), expected)


def test_shortcut_that_subsamples_and_adds_channels():
    """Channels 0 to 3 of the stem are channels 2 to 5 behind the block, every second pixel."""
    m = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), Block(4, 8, 2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3),
    )  # fmt: skip
    stem, block, fc = randomise(m)[0], m[2], m[5]
    skipped = {c + 2: square for c, square in rows(stem).items()}
    reading = {c - 2: square for c, square in columns(fc).items() if 2 <= c < 6}
    one, two = (block.conv1, block.bn1), (block.conv2, block.bn2)
    expected = {
        "0": score(stem, after=plus(columns(*one), reading)),
        "2.conv1": score(block.conv1, rows(stem), columns(*two), block.bn1),
        "2.conv2": score(block.conv2, rows(*one), columns(fc), block.bn2),
        "5": score(fc, plus(skipped, rows(*two))),
    }
    check(m, (2, 4, 4), expected)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(2, 4), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        x = self.first(x).tanh()
        for _ in range(2):
            x = torch.tanh(self.middle(x))
        return self.last(x)


def test_a_layer_called_twice_has_the_neighbours_of_both_calls():
    m = Recurrent()
    expected = {
        "first": score(m.first, after=columns(m.middle)),
        "middle": score(
            m.middle,
            plus(rows(m.first), rows(m.middle)),
            plus(columns(m.middle), columns(m.last)),
        ),
        "last": score(m.last, rows(m.middle)),
    }
    check(m, (2,), expected)


class Tied(nn.Module):
    """Two modules, or one that is called twice, each call with its own normalisation behind it."""

    def __init__(self, shared):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.a, self.last = nn.Linear(2, 4), nn.Linear(4, 4), nn.Linear(4, 3)
        self.bn1, self.bn2 = nn.BatchNorm1d(4), nn.BatchNorm1d(4)
        self.b = self.a if shared else nn.Linear(4, 4)
        self.b.weight = self.a.weight

    def forward(self, x):
        x = torch.relu(self.bn1(self.a(self.first(x).tanh())))
        return self.last(torch.relu(self.bn2(self.b(x))))


@pytest.mark.parametrize("shared", [True, False])
def test_a_weight_used_twice_has_the_neighbours_of_both_uses(shared):
    m = randomise(Tied(shared))
    expected = {
        "first": score(m.first, after=columns(m.a, m.bn1)),
        "last": score(m.last, rows(m.a, m.bn2)),
    }
    before = plus(rows(m.first), rows(m.a, m.bn1))
    behind = [(columns(m.b, m.bn2), m.bn1), (columns(m.last), m.bn2)]
    after = {}
    for reads, norm in behind:  # what reads an output, times what its normalisation makes of it
        scale = norm.weight.detach().square() / (norm.running_var + norm.eps)
        after = plus(after, {c: square * float(scale[c]) for c, square in reads.items()})
    expected["a"] = score(m.a, before, after)
    check(m, (2,), expected)


def test_a_weight_shared_by_layers_of_different_kinds_is_a_mismatch():
    m = nn.Sequential(nn.Conv2d(2, 4, 1), nn.ReLU(), nn.ConvTranspose2d(4, 2, 1))
    m[2].weight = m[0].weight
    with pytest.raises(Mismatch, match="'0.weight' is shared by '2', which orders"):
        lookahead(m, Shape(2, 3, 3))


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1)
        self.fc = nn.Linear(16, 3)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.leaky_relu(self.conv2(x), 0.1), kernel_size=3, stride=2, padding=1)
        return F.log_softmax(self.fc(x.view(x.size(0), -1)), dim=1)


def test_functional_activations_and_pools():
    m = Functional()
    expected = {
        "conv1": score(m.conv1, after=columns(m.conv2)),
        "conv2": score(m.conv2, rows(m.conv1), columns(m.fc, area=4)),
        "fc": score(m.fc, rows(m.conv2), area=4),
    }
    check(m, (2, 8, 8), expected)


def test_channels_that_are_concatenated_keep_their_own_neighbours():
    class Forked(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Conv2d(2, 3, 1), nn.Conv2d(2, 2, 3, padding=1)
            self.last = nn.Conv2d(5, 2, 1)

        def forward(self, x):
            return self.last(torch.cat([self.one(x), self.two(x)], 1))

    m = Forked()
    reads = columns(m.last)
    both = rows(m.one) | {c + 3: square for c, square in rows(m.two).items()}
    expected = {
        "one": score(m.one, after={c: reads[c] for c in range(3)}),
        "two": score(m.two, after={c: reads[c + 3] for c in range(2)}),
        "last": score(m.last, both),
    }
    check(m, (2, 3, 3), expected)


def test_normalised_by_layer():
    model = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 2))
    plain = lookahead(model, Shape(3))
    scores = lookahead(model, Shape(3), normalize="layer")
    for name, each in plain.items():
        length = math.sqrt(sum(float(s) ** 2 for s in each.flatten()))
        torch.testing.assert_close(scores[name], each / length, rtol=1e-6, atol=0)
        assert length != pytest.approx(1, rel=0.01)
    nn.init.zeros_(model[0].weight)
    scores = lookahead(model, Shape(3), normalize="layer")
    assert all(torch.equal(each, torch.zeros_like(each)) for each in scores.values())


def test_the_model_is_untouched():
    model = randomise(Residual())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    lookahead(model, Shape(2, 3, 3))
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert prunable(model).keys() == {f"{n}.weight" for n in ("stem", "conv1", "conv2", "fc")}


def test_a_network_that_cannot_be_traced_is_a_mismatch():
    class Branching(nn.Linear):
        def forward(self, x):
            return super().forward(x) if x.sum() > 0 else x

    class Deciding(nn.Sequential):
        def forward(self, x):
            return super().forward(x if x.sum() > 0 else -x)

    assert lookahead(nn.Sequential(Branching(2, 2)), Shape(2))  # layers are taken whole
    with pytest.raises(Mismatch, match="cannot trace"):
        lookahead(Deciding(nn.Linear(2, 2)), Shape(2))
