"""What every scorer promises, run on each of them by name."""

import pytest
import torch
from torch import nn

from prunecli.network.layers import prunable
from prunecli.network.untouched import untouched
from prunecli.plugins.names import names
from prunecli.plugins.resolve import resolve
from prunecli.runtime.device import put_on


class Data:
    input_shape = (1, 8, 8)

    def __init__(self, dtype=torch.float32):
        self.dtype = dtype

    def __iter__(self):
        draw = torch.Generator().manual_seed(1)
        for _ in range(3):
            images = torch.randn(6, 1, 8, 8, generator=draw, dtype=self.dtype)
            yield images, torch.arange(6) % 3

    def per_class(self, count):
        draw = torch.Generator().manual_seed(2)
        images = torch.randn(3 * count, 1, 8, 8, generator=draw, dtype=self.dtype)
        return images, torch.arange(3 * count) % 3


class NoData(Data):
    def __iter__(self):
        raise AssertionError("a data-free scorer opened the data set")


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(), nn.Conv2d(4, 2, 3),
        nn.ReLU(), nn.Flatten(), nn.Linear(32, 8), nn.ReLU(), nn.Linear(8, 3),
    )  # fmt: skip


def score(method, model, options=None):
    function = resolve("scorers", method, by_file=False)
    if function.takes_model:
        with untouched(model):
            return function(model.eval(), Data(next(model.parameters()).dtype), **options or {})
    return {name: function(weight.detach()) for name, weight in prunable(model).items()}


METHODS = list(names("scorers"))


@pytest.mark.parametrize("method", METHODS)
def test_scores_have_the_weights_names_and_shapes_and_are_finite(method):
    model = network()
    scores, weights = score(method, model), prunable(model)
    assert list(scores) == list(weights)
    for name, weight in weights.items():
        assert scores[name].shape == weight.shape
        assert torch.isfinite(scores[name].float()).all()
        decides = resolve("scorers", method, by_file=False).decides
        assert decides or scores[name].unique().numel() > 1


@pytest.mark.parametrize("method", METHODS)
def test_scoring_twice_gives_the_same(method):
    one, two = score(method, network()), score(method, network())
    assert all(torch.equal(one[name], two[name]) for name in one)


CHOICES = [(method, {}) for method in METHODS]
CHOICES += [("obd", {"hessian": how, "batches": 1}) for how in ("exact", "ggn")]


@pytest.mark.parametrize(("method", "options"), CHOICES)
def test_a_network_in_the_memory_format_that_commands_use_scores_the_same(method, options):
    models = network(), put_on(network(), torch.device("cpu"))
    for model in models:
        model[3].p = 0.0  # it would drop others, for it draws in the order of the memory
    one, two = (score(method, model.double(), options) for model in models)
    for name, expected in one.items():
        size = float(expected.detach().abs().max())
        torch.testing.assert_close(two[name], expected, rtol=1e-6, atol=1e-6 * size)


@pytest.mark.parametrize("method", METHODS)
def test_scoring_leaves_everything_as_it_was(method):
    model = network().train()
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 7.0)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    random = torch.get_rng_state()
    with untouched(model):
        score(method, model)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert all((p.grad == 7).all() and p.requires_grad for p in model.parameters())
    assert all(module.training for module in model.modules())
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("method", METHODS)
def test_every_scorer_says_what_it_is_and_where_it_is_from(method):
    function = resolve("scorers", method, by_file=False)
    assert resolve("scorers", method, by_file=False).summary.endswith(".")
    assert method == "random" or "Source:" in function.text


@pytest.mark.parametrize("method", [m for m in METHODS if m in ("magnitude", "lamp", "random")])
def test_tensor_scorers_take_no_model(method):
    assert not resolve("scorers", method, by_file=False).takes_model


BY_PART = [m for m in METHODS if resolve("scorers", m, by_file=False).takes_part]


def test_magnitude_is_one_of_those_that_take_parts_and_lamp_is_not():
    assert "magnitude" in BY_PART
    assert "lamp" not in BY_PART


@pytest.mark.parametrize("method", BY_PART)
def test_scored_in_parts_a_weight_has_the_scores_that_it_has_whole(method):
    function = resolve("scorers", method, by_file=False)
    for weight in prunable(network()).values():
        parts = torch.cat([function(part) for part in weight.detach().flatten().split(7)])
        assert torch.equal(parts.reshape(weight.shape), function(weight.detach()))


class Idle(nn.Module):
    """A network with a layer that its forward pass leaves out."""

    def __init__(self):
        super().__init__()
        self.used, self.idle = nn.Linear(64, 3), nn.Linear(64, 2)

    def forward(self, x):
        return self.used(x.flatten(1))


GRAPH = {"activation", "lookahead"}
"""They look for a layer's neighbours, and refuse one that has none."""
OF_THE_LOSS = [
    m for m in METHODS if resolve("scorers", m, by_file=False).takes_model and m not in GRAPH
]


@pytest.mark.parametrize("method", OF_THE_LOSS)
@pytest.mark.parametrize("hessian", ["hutchinson", "exact", "ggn"])
def test_what_the_loss_does_not_depend_on_scores_0(method, hessian):
    torch.manual_seed(0)
    options = {"hessian": hessian} if method == "obd" else {}
    scores = score(method, Idle(), options)
    assert not scores["idle.weight"].any()
    assert scores["used.weight"].any()
