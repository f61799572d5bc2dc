import itertools
import math

import pytest
import torch
from torch import nn
from torch.func import functional_call

from prunecli.models.resnet56 import resnet56
from prunecli.models.vgg16 import vgg16
from prunecli.network.layers import prunable
from prunecli.scorers.magnitude import magnitude
from prunecli.scorers.synflow import synflow


class Shape:
    """No data: only the shape of the input may be asked for."""

    def __init__(self, *shape):
        self.input_shape = shape

    def __iter__(self):
        raise AssertionError("synflow opened the data set")

    per_class = __iter__


def perceptron(*widths, bias=False):
    torch.manual_seed(0)
    layers = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs, bias=bias), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def convolutional():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
        nn.Linear(36, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3),
    )  # fmt: skip
    for module in model:
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.1, 3)
    return model.eval()


def objective(model, shape, dtype):
    """R: the sum of the outputs for ones, all parameters and buffers replaced by magnitudes."""
    state = {
        name: tensor.detach().abs().to(dtype) if tensor.is_floating_point() else tensor
        for name, tensor in model.state_dict().items()
    }
    with torch.no_grad():
        return float(functional_call(model, state, torch.ones(1, *shape, dtype=dtype)).sum())


def by_paths(weights):
    """R, and per weight the product along every path from input to output that it lies on."""
    weights = [w.detach().double().abs().tolist() for w in weights]
    scores = [[[0.0] * len(row) for row in w] for w in weights]
    widths = [len(weights[0][0])] + [len(w) for w in weights]
    r = 0.0
    for path in itertools.product(*(range(width) for width in widths)):
        steps = list(zip(weights, path[1:], path[:-1], strict=True))
        product = math.prod(w[k][j] for w, k, j in steps)
        r += product
        for score, k, j in zip(scores, path[1:], path[:-1], strict=True):
            score[k][j] += product
    return r, [torch.tensor(score, dtype=torch.float64) / r for score in scores]


def test_equals_the_sum_over_all_paths():
    model = perceptron(3, 4, 3, 2)
    r, slow = by_paths(prunable(model).values())
    assert objective(model, (3,), torch.float64) == pytest.approx(r, rel=1e-10)
    scores = synflow(model, Shape(3))
    for score, expected in zip(scores.values(), slow, strict=True):
        torch.testing.assert_close(score, expected, rtol=1e-10, atol=0)


def test_by_hand():
    # 1' |W2| |W1| 1 with |W1| = (1 2; 3 0), |W2| = (2, 1): R = 2 * 3 + 1 * 3 = 9.
    model = perceptron(2, 2, 1)
    model[0].weight.data = torch.tensor([[1.0, -2.0], [-3.0, 0.0]])
    model[2].weight.data = torch.tensor([[-2.0, 1.0]])
    one, two = synflow(model, Shape(2)).values()
    assert one.tolist() == [pytest.approx([2 / 9, 4 / 9]), pytest.approx([3 / 9, 0])]
    assert two.tolist() == [pytest.approx([6 / 9, 3 / 9])]


def test_biases_and_normalisation_count_unless_conserve():
    # R = |w2| |w1| |gamma| / sd + |w2| |beta - mean gamma / sd| + |b2|, sd = sqrt(var + eps)
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1), nn.Linear(1, 1)).eval()
    with torch.no_grad():
        model[0].weight.fill_(-3)
        model[1].running_mean.fill_(-1)
        model[1].running_var.fill_(4 - model[1].eps)
        model[1].weight.fill_(-6)
        model[1].bias.fill_(-0.5)
        model[2].weight.fill_(2)
        model[2].bias.fill_(-7)
    one, two = synflow(model, Shape(1)).values()
    shift = abs(-0.5 - 1 * 6 / 2)
    r = 2 * 3 * 6 / 2 + 2 * shift + 7  # 32
    assert float(one) == pytest.approx(3 * 2 * 3 / r)
    assert float(two) == pytest.approx(2 * (3 * 3 + shift) / r)
    one, two = synflow(model, Shape(1), conserve=True).values()
    assert float(one) == pytest.approx(1, rel=1e-10)
    assert float(two) == pytest.approx(1, rel=1e-10)


@pytest.mark.parametrize("model", [perceptron(6, 9, 4, 7, 3, bias=True), convolutional()])
def test_conserve_makes_every_layer_add_up_to_1(model):
    shape = (6,) if isinstance(model[0], nn.Linear) else (2, 6, 6)
    scores = synflow(model, Shape(*shape), conserve=True)
    assert len(scores) == 4
    for score in scores.values():
        assert score.dtype == torch.float64
        assert float(score.sum()) == pytest.approx(1, rel=1e-10)
        assert score.min() >= 0


def test_conserve_scores_the_network_without_biases_and_normalisations():
    model, plain = convolutional(), convolutional()
    for i, module in enumerate(plain):
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            plain[i] = nn.Identity()
        elif isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.zeros_(module.bias)
    expected = synflow(plain, Shape(2, 6, 6))
    for name, score in synflow(model, Shape(2, 6, 6), conserve=True).items():
        torch.testing.assert_close(score, expected[name], rtol=1e-10, atol=0)


def test_what_enters_a_hidden_unit_leaves_it():
    one, two, three, four = synflow(convolutional(), Shape(2, 6, 6), conserve=True).values()
    pairs = [
        (one.sum((1, 2, 3)), two.sum((0, 2, 3))),
        (two.sum((1, 2, 3)), three.reshape(5, 4, 9).sum((0, 2))),  # behind the flattening
        (three.sum(1), four.sum(0)),
    ]
    for entering, leaving in pairs:
        assert entering.unique().numel() > 1
        torch.testing.assert_close(entering, leaving, rtol=1e-10, atol=1e-14)


def test_without_conserve_nothing_is_conserved_but_all_is_positive():
    scores = synflow(convolutional(), Shape(2, 6, 6))
    assert all(score.min() >= 0 for score in scores.values())
    assert max(abs(float(score.sum()) - 1) for score in scores.values()) > 0.01


def test_a_normalisation_scores_as_if_folded_into_the_convolution():
    model = nn.Sequential(nn.Linear(2, 3, bias=False), nn.BatchNorm1d(3), nn.Linear(3, 2)).eval()
    model[1].running_mean.fill_(100)  # subtracted from magnitudes, it would leave less than nothing
    model[1].running_var.uniform_(0.3, 3)
    nn.init.normal_(model[1].weight)
    scale = model[1].weight / (model[1].running_var + model[1].eps).sqrt()
    folded = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    folded[0].weight.data = model[0].weight.data * scale.detach()[:, None]
    folded[0].bias.data = model[1].bias.data - 100 * scale.detach()
    folded[1].load_state_dict(model[2].state_dict())
    ours, theirs = synflow(model, Shape(2)).values(), synflow(folded, Shape(2)).values()
    for one, other in zip(ours, theirs, strict=True):
        assert one.min() > 0
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("conserve", [False, True])
def test_the_model_is_untouched(conserve):
    model = convolutional()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    synflow(model, Shape(2, 6, 6), conserve=conserve)
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == before[name].dtype
        assert torch.equal(tensor, before[name]), name
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("build", [resnet56, vgg16])
def test_deep_networks_have_finite_scores(build):
    torch.manual_seed(0)
    model, shape = build((3, 32, 32), 10).eval(), (3, 32, 32)
    for score in synflow(model, Shape(*shape)).values():
        assert torch.isfinite(score).all()
        assert score.min() >= 0
        assert math.isfinite(float(score.float().sum()))
        assert float(score.float().sum()) > 0


def test_the_objective_of_resnet56_is_beyond_float32():
    torch.manual_seed(0)
    model, shape = resnet56((3, 32, 32), 10).eval(), (3, 32, 32)
    assert objective(model, shape, torch.float32) == math.inf
    assert torch.finfo(torch.float32).max < objective(model, shape, torch.float64) < math.inf


def top(scores, keep):
    """The `keep` highest over all layers, exactly; ties by place."""
    flat = torch.cat([score.detach().double().flatten() for score in scores.values()])
    kept = torch.zeros(len(flat), dtype=torch.bool)
    kept[flat.argsort(descending=True, stable=True)[:keep]] = True
    parts = kept.split([score.numel() for score in scores.values()])
    return {
        name: part.reshape(score.shape)
        for (name, score), part in zip(scores.items(), parts, strict=True)
    }


def in_rounds(model, data, keep, rounds):
    """The masks of all rounds; the density falls exponentially to `keep` weights."""
    weights = prunable(model)
    total = sum(w.numel() for w in weights.values())
    mask, masks = {name: torch.ones_like(w, dtype=torch.bool) for name, w in weights.items()}, []
    for done in range(1, rounds + 1):
        scores = synflow(model, data)
        ranked = {n: s.masked_fill(~mask[n], -math.inf) for n, s in scores.items()}
        mask = top(ranked, round(total * (keep / total) ** (done / rounds)))
        masks.append(mask)
        with torch.no_grad():
            for name, weight in weights.items():
                weight.masked_fill_(~mask[name], 0)
    return masks


WIDTHS = (16, 24, 20, 30, 12, 10)


@pytest.mark.parametrize("spare", [1, 3])
def test_rounds_keep_every_layer_alive_down_to_a_few_weights(spare):
    model, data = perceptron(*WIDTHS), Shape(16)
    layers = len(WIDTHS) - 1
    masks = in_rounds(model, data, layers + spare, rounds=100)
    assert sum(int(kept.sum()) for kept in masks[-1].values()) == layers + spare
    assert all(kept.any() for mask in masks for kept in mask.values())
    for before, after in itertools.pairwise(masks):
        assert not any((after[name] & ~before[name]).any() for name in after)
    assert objective(model, (16,), torch.float64) > 0  # and a path is left from input to output


def test_one_go_collapses_layers_where_rounds_do_not():
    model, layers = perceptron(*WIDTHS), len(WIDTHS) - 1
    ours = top(synflow(model, Shape(16)), layers + 1)
    theirs = top({name: magnitude(w) for name, w in prunable(model).items()}, layers + 1)
    for mask in (ours, theirs):
        assert sum(int(kept.sum()) for kept in mask.values()) == layers + 1
        assert not all(kept.any() for kept in mask.values())


@pytest.mark.parametrize("conserve", [False, True])
def test_a_weight_that_two_layers_share_counts_in_both(conserve):
    model = perceptron(2, 2, 2)
    model[2].weight = model[0].weight
    model[0].weight.data = torch.tensor([[1.0, -2.0], [-3.0, 0.0]])
    # R = 1'W W 1 = (4, 2) . (3, 3) = 18; dR/dw_kj = (W'1)_k + (W 1)_j
    (score,) = synflow(model, Shape(2), conserve=conserve).values()
    expected = torch.tensor([[1 * (4 + 3), 2 * (4 + 3)], [3 * (2 + 3), 0]]) / 18
    torch.testing.assert_close(score, expected.double(), rtol=1e-6, atol=0)


def test_takes_100_rounds_unless_told_otherwise():
    assert synflow.rounds == 100
