import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from prunecli.errors import BadUsage, Mismatch
from prunecli.scorers.activation import activation

LAYERS = (nn.Conv2d, nn.Linear)


class Data(list):
    """Batches of random images of a shape."""

    def __init__(self, *shape, count=1, size=4):
        draw = torch.Generator().manual_seed(3)
        super().__init__(
            (torch.randn(size, *shape, generator=draw), torch.arange(size) % 2)
            for _ in range(count)
        )
        self.input_shape = shape


def network(relu=nn.ReLU):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), relu(),
        nn.Conv2d(4, 3, 3), relu(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(12, 5), relu(), nn.Linear(5, 3),
    )  # fmt: skip
    model[1].running_mean.uniform_(-0.2, 0.2)
    model[1].running_var.uniform_(0.5, 2)
    return model.eval()


def channel_means(value):
    """Of a batch of maps or of rows, one channel at a time."""
    return [float(value.select(1, c).double().mean()) for c in range(value.shape[1])]


def share(means):
    norm = math.sqrt(sum(m * m for m in means))
    return [m / norm if norm else 0.0 for m in means]


def by_loops(weight, a, side="out"):
    score = torch.zeros_like(weight)
    for k in range(weight.shape[0]):
        for j in range(weight.shape[1]):
            score[k, j] = weight[k, j].detach().abs() * abs(a[k] if side == "out" else a[j])
    return score


@torch.no_grad()
def reference(model, data, side="out"):
    """For a chain of modules: run them one by one and look at what comes out."""
    seen = {}
    for images, _ in data:
        values = [images]
        for module in model:
            values.append(module(values[-1].clone()))
        for i, module in enumerate(model):
            if not isinstance(module, LAYERS):
                continue
            behind = i
            while behind < len(model) - 1 and not isinstance(model[behind], nn.ReLU):
                behind += 1
            if not isinstance(model[behind], nn.ReLU):
                behind = i  # the classifier
            seen.setdefault(i, []).append(
                channel_means(values[i] if side == "in" else values[behind + 1])
            )
    return {
        f"{i}.weight": by_loops(
            model[i].weight, share([sum(channel) for channel in zip(*means, strict=True)]), side
        )
        for i, means in seen.items()
    }


def check(scores, expected):
    assert scores.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(scores[name], expected[name], rtol=1e-4, atol=1e-7)
        assert scores[name].unique().numel() > 1


@pytest.mark.parametrize("side", ["out", "in"])
@pytest.mark.parametrize("count", [1, 3])
def test_equals_the_loop(side, count):
    model, data = network(), Data(2, 8, 8, count=count)
    check(activation(model, data, batches=count, side=side), reference(model, data, side))


@pytest.mark.parametrize("side", ["out", "in"])
def test_every_image_counts_the_same_whatever_the_size_of_its_batch(side):
    whole = Data(2, 8, 8, size=20)
    [(images, labels)] = whole
    split = Data(2, 8, 8, count=0)
    split += [(images[:16], labels[:16]), (images[16:], labels[16:])]
    one = activation(network(), whole, side=side)
    two = activation(network(), split, batches=2, side=side)
    for name in one:
        torch.testing.assert_close(two[name], one[name])


def test_only_the_batches_asked_for_count():
    model, data = network(), Data(2, 8, 8, count=3)
    check(activation(model, data, batches=2), reference(model, data[:2]))
    one, two = activation(model, data, batches=1), activation(model, data, batches=2)
    assert not torch.allclose(one["0.weight"], two["0.weight"])


def test_no_batch_at_all_is_bad_usage():
    with pytest.raises(BadUsage, match="batches=0"):
        activation(network(), Data(2, 8, 8), batches=0)


def test_by_hand_out_and_in():
    # x = (3, 4); outputs 3 - 4 = -1, 4 and 6, after ReLU 0, 4 and 6.
    model = nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU())
    model[0].weight.data = torch.tensor([[1.0, -1.0], [0.0, 1.0], [2.0, 0.0]])
    data = [(torch.tensor([[3.0, 4.0]]), torch.tensor([0]))]
    out = activation(model, data)["0.weight"].tolist()
    norm = math.sqrt(16 + 36)
    expected = [[0, 0], [0, 4 / norm], [12 / norm, 0]]
    assert out == [pytest.approx(row) for row in expected]
    inputs = activation(model, data, side="in")["0.weight"].tolist()
    assert inputs == [pytest.approx(row) for row in [[0.6, 0.8], [0, 0.8], [1.2, 0]]]


def test_a_channel_of_outputs_shares_one_factor():
    model = network()
    ratio = activation(model, Data(2, 8, 8))["0.weight"] / model[0].weight.detach().abs()
    factor = ratio[:, :1, :1, :1]
    torch.testing.assert_close(ratio, factor.expand_as(ratio))
    assert factor.unique().numel() == 4
    assert float(factor.square().sum()) == pytest.approx(1, rel=1e-4)


def test_one_relu_module_used_after_every_layer():
    shared = nn.ReLU()
    model, data = network(lambda: shared), Data(2, 8, 8)
    check(activation(model, data), reference(network(), data))


@pytest.mark.parametrize("side", ["out", "in"])
def test_in_place_relu(side):
    model, data = network(lambda: nn.ReLU(inplace=True)), Data(2, 8, 8)
    check(activation(model, data, side=side), reference(network(), data, side))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv1 = nn.Conv2d(2, 4, 3, padding=1)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 3)
        self.bn.running_mean.uniform_(-0.3, 0.3)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        x = torch.relu(self.bn(self.conv2(x)) + x)
        return self.fc(x.mean((2, 3)))


@torch.no_grad()
def test_the_activation_behind_a_residual_sum():
    model, data = Residual().eval(), Data(2, 6, 6)
    first = model.conv1(data[0][0]).clamp(min=0)
    second = (model.bn(model.conv2(first)) + first).clamp(min=0)
    logits = model.fc(second.mean((2, 3)))
    means = {"conv1": first, "conv2": second, "fc": logits}
    expected = {
        f"{name}.weight": by_loops(model.get_submodule(name).weight, share(channel_means(value)))
        for name, value in means.items()
    }
    check(activation(model, data), expected)


def test_a_layer_used_twice_counts_both_times():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.fc = nn.Linear(4, 4)

        def forward(self, x):
            return torch.tanh(self.fc(F.relu(self.fc(x))))

    model, data = Twice(), Data(4)
    with torch.no_grad():
        first = model.fc(data[0][0]).clamp(min=0)
        second = model.fc(first).tanh()
    means = [a + b for a, b in zip(channel_means(first), channel_means(second), strict=True)]
    check(activation(model, data), {"fc.weight": by_loops(model.fc.weight, share(means))})


@pytest.mark.parametrize("side", ["out", "in"])
def test_a_weight_of_two_modules_counts_for_both(side):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
            self.b.weight = self.a.weight

        def forward(self, x):
            return torch.tanh(self.b(F.relu(self.a(x))))

    model, data = Tied(), Data(4)
    with torch.no_grad():
        first = model.a(data[0][0]).clamp(min=0)
        second = model.b(first).tanh()
    uses = (data[0][0], first) if side == "in" else (first, second)
    means = [sum(both) for both in zip(*map(channel_means, uses), strict=True)]
    expected = {"a.weight": by_loops(model.a.weight, share(means), side)}
    check(activation(model, data, side=side), expected)


def test_a_weight_shared_by_layers_of_different_kinds_is_a_mismatch():
    model = nn.Sequential(nn.Conv2d(2, 2, 1), nn.ConvTranspose2d(2, 2, 1))
    model[1].weight = model[0].weight
    with pytest.raises(Mismatch, match="'0.weight' is shared by '1', which orders"):
        activation(model, Data(2, 3, 3))


def test_grouped_convolution_broadcasts_to_its_own_channels():
    torch.manual_seed(0)
    model, data = nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.ReLU()), Data(4, 6, 6)
    with torch.no_grad():
        a = share(channel_means(model(data[0][0])))
    check(activation(model, data), {"0.weight": by_loops(model[0].weight, a)})
    a = share(channel_means(data[0][0]))
    expected = torch.zeros_like(model[0].weight)
    for k in range(6):
        for j in range(2):  # outputs 0-2 read inputs 0 and 1, the others 2 and 3
            expected[k, j] = model[0].weight[k, j].detach().abs() * abs(a[k // 3 * 2 + j])
    check(activation(model, data, side="in"), {"0.weight": expected.detach()})


def test_a_dead_layer_scores_zero():
    model = network()
    nn.init.constant_(model[3].bias, -1e6)
    scores = activation(model, Data(2, 8, 8))
    assert model[3].weight.abs().min() > 0
    assert torch.equal(scores["3.weight"], torch.zeros(3, 4, 3, 3))
    assert (scores["0.weight"] > 0).any()
    # The layer behind it sees its own biases only.
    a = share(channel_means(model[7].bias.detach().clamp(min=0).expand(4, 5)))
    torch.testing.assert_close(scores["7.weight"], by_loops(model[7].weight, a).detach())
