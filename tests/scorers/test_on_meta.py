"""Scorers on a device of their own; see `devices`."""

from collections import Counter

import pytest
import torch
from devices import META, OneDevice
from torch import nn

from prunecli.network.layers import prunable
from prunecli.network.untouched import untouched
from prunecli.plugins.names import names
from prunecli.plugins.resolve import resolve
from prunecli.runtime.device import put_on
from prunecli.scoring.by_network import network_scores

METHODS = list(names("scorers"))
OF_MODELS = [name for name in METHODS if resolve("scorers", name, by_file=False).takes_model]
OF_TENSORS = [name for name in METHODS if name not in {*OF_MODELS, "random"}]
"""`random` draws on the CPU, so that all devices see the same."""

CHOICES = [(name, {}) for name in OF_MODELS]
CHOICES += [("obd", {"hessian": hessian, "batches": 1}) for hessian in ("exact", "ggn")]
CHOICES += [("snip", {"init": "xavier"}), ("lookahead", {"normalize": "layer"})]
CHOICES += [("activation", {"side": "in"}), ("synflow", {"conserve": True})]
CHOICES += [(name, {"per_class": 2}) for name in ("snip", "obd", "fisher")]

LOOKS = {"synflow": {"scorers/synflow.py"}}
"""Where a scorer may look at the device: at how large amounts have become, for a float64 ends."""
OF_GRAPHS = ("activation", "lookahead", "synflow")


class Data:
    input_shape = (3, 16, 16)

    def __iter__(self):
        for _ in range(3):
            yield self.per_class(2)

    def per_class(self, count):
        labels = torch.arange(3 * count, device=META) % 3
        return torch.empty(3 * count, *self.input_shape, device=META), labels


class Network(nn.Module):
    """With what the bundled models have: skips, grouped convolutions, pooling, shapes asked for."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
        self.depthwise = nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False)
        self.scale = nn.Parameter(torch.ones(1))
        self.pool, self.drop, self.head = nn.MaxPool2d(2), nn.Dropout(0.5), nn.Linear(4, 3)

    def forward(self, x):
        x = self.norm(self.stem(x)).relu()
        x = self.pool(2 * x + self.depthwise(x) * self.scale)
        return self.head(self.drop(x.mean((2, 3)).view(x.shape[0], -1)))


@pytest.mark.parametrize(("method", "options"), CHOICES)
def test_a_model_is_scored_on_one_device_and_looked_at_only_where_it_must_be(method, options):
    model, scorer = put_on(Network(), META), resolve("scorers", method, by_file=False)
    with OneDevice(may_look=method in LOOKS) as device, untouched(model):
        scores = scorer(model.eval(), Data(), **options)
    assert {name: score.shape for name, score in scores.items()} == {
        name: weight.shape for name, weight in prunable(model).items()
    }
    assert {score.device for score in scores.values()} == {META}
    assert {look.partition(":")[0] for look in device.looks} == LOOKS.get(method, set())


@pytest.mark.parametrize("method", OF_TENSORS)
def test_a_weight_is_scored_on_its_device_without_a_look_at_it(method):
    with OneDevice():
        scores = resolve("scorers", method, by_file=False)(torch.empty(6, 5, device=META))
    assert scores.device == META
    assert scores.shape == (6, 5)


@pytest.mark.parametrize("method", ["snip", "snip-thesis"])
def test_weights_drawn_anew_go_to_the_device_and_so_does_the_mask(method):
    model = put_on(Network(), META)
    mask = {name: torch.ones(w.shape, dtype=torch.bool) for name, w in prunable(model).items()}
    with OneDevice():
        scores = resolve("scorers", method, by_file=False)(model, Data(), init="xavier", mask=mask)
    assert {score.device for score in scores.values()} == {META}


@pytest.mark.parametrize("method", OF_GRAPHS)
@pytest.mark.parametrize("name", [*names("models")])
def test_the_graph_of_a_model_is_run_on_one_device(name, method):
    model = put_on(resolve("models", name, by_file=False)(Data.input_shape, 3), META).eval()
    with OneDevice(may_look=method in LOOKS) as device, untouched(model):
        scores = resolve("scorers", method, by_file=False)(model, Data())
    assert {score.device for score in scores.values()} == {META}
    assert {look.partition(":")[0] for look in device.looks} <= LOOKS.get(method, set())


@pytest.mark.parametrize("method", [name for name in OF_MODELS if name not in LOOKS])
def test_only_scores_and_whether_weights_are_finite_come_back_from_the_device(method):
    model, scorer = put_on(Network(), META), resolve("scorers", method, by_file=False)
    mask = {name: torch.ones(w.shape, dtype=torch.bool) for name, w in prunable(model).items()}
    with OneDevice(may_look=True) as device:
        scores = network_scores(scorer, model, Data(), mask, 0, "the network")
    assert {score.device.type for score in scores.values()} == {"cpu"}
    seen = Counter(look.rpartition(" in ")[2] for look in device.looks)
    assert seen["all_finite"] == len(list(model.parameters()))
    assert len(device.looks) == seen["all_finite"] + len(scores)
