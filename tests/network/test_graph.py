"""The network as a graph: what cannot be one is said so, and weights by group."""

import ast
import inspect

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from prunecli.errors import Mismatch
from prunecli.network import graph
from prunecli.network.graph import grouped, trace, ungrouped
from prunecli.plugins.names import names
from prunecli.plugins.resolve import resolve


class Deciding(nn.Module):
    """Asks its input a question, which a graph cannot answer."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x):
        return self.fc(x) if x.sum() > 0 else x


class Holding(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(3, 3)
        self.blocks = nn.ModuleList([nn.ReLU(), Deciding()])

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return x


def users_of_the_graph():
    """The scorers whose file imports prunecli.network.graph."""
    found = []
    for name in names("scorers"):
        source = inspect.getsource(inspect.getmodule(resolve("scorers", name, by_file=False).call))
        for node in ast.walk(ast.parse(source)):
            modules = [node.module] if isinstance(node, ast.ImportFrom) else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if "prunecli.network.graph" in modules:
                found.append(name)
    return sorted(set(found))


def test_a_module_that_cannot_be_traced_is_named():
    with pytest.raises(Mismatch) as caught:
        trace(Holding(), (1, 3))
    assert "torch.fx cannot trace 'blocks.1' of Holding" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_whose_own_forward_cannot_be_traced_is_named():
    with pytest.raises(Mismatch, match="cannot trace the forward of Deciding"):
        trace(Deciding(), (1, 3))


def test_the_methods_that_need_a_graph_are_named_and_the_list_is_current():
    users = users_of_the_graph()
    assert users == ["activation", "lookahead", "synflow"]
    *first, last = users
    assert graph.NEED_GRAPH.startswith(f"only the methods {', '.join(first)} and {last} need")
    with pytest.raises(Mismatch) as caught:
        trace(Holding(), (1, 3))
    assert graph.NEED_GRAPH in str(caught.value)
    others = set(names("scorers")) - set(users)
    assert not any(name in str(caught.value).replace("_", "-").split() for name in others)


@pytest.mark.parametrize("method", ["activation", "lookahead", "synflow"])
def test_methods_that_need_a_graph_refuse_what_has_none(method):
    class Data:
        input_shape = (3,)

        def __iter__(self):
            yield torch.ones(2, 3), torch.zeros(2, dtype=torch.long)

    with pytest.raises(Mismatch, match="'blocks.1'"):
        resolve("scorers", method, by_file=False)(Holding().eval(), Data())


def test_a_layer_inside_a_module_of_torch_is_named():
    class Attending(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 2)
            self.fc = nn.Linear(4, 2)

        def forward(self, x):
            return self.fc(self.attention(x, x, x)[0])

    with pytest.raises(Mismatch) as caught:
        trace(Attending(), (1, 4))
    assert "'attention.out_proj' of Attending is not called" in str(caught.value)
    assert graph.NEED_GRAPH in str(caught.value)


def test_a_layer_whose_weight_is_used_without_a_call_is_named():
    class Bypassing(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(2, 2)

        def forward(self, x):
            return F.linear(x, self.fc.weight)

    with pytest.raises(Mismatch, match="'fc' of Bypassing is not called"):
        trace(Bypassing(), (1, 2))


def test_derived_layers_are_taken_whole():
    class Doubled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    doubled = nn.Sequential(Doubled(2, 3), nn.Tanh())
    nodes = [(n.op, n.target) for n in trace(doubled, (1, 2)).graph.nodes]
    assert nodes[1:3] == [("call_module", "0"), ("call_module", "1")]


def relu_in(place):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.act = nn.Linear(2, 2), nn.LeakyReLU()

        def forward(self, x):
            return place(self, self.fc(x)) + 1

    return Model()


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (lambda m, x: m.act(x), ["act"]),
        (lambda m, x: F.leaky_relu(x), ["leaky_relu"]),
        (lambda m, x: torch.relu(x), ["relu"]),
        (lambda m, x: x.relu_(), ["relu_"]),
        (lambda m, x: x.sigmoid() * x, ["sigmoid"]),
        (lambda m, x: F.hardswish(x), ["hardswish"]),
        (lambda m, x: F.gelu(x), ["gelu"]),
        (lambda m, x: F.dropout(x, training=False), []),
        (lambda m, x: x.abs(), []),
    ],
)  # fmt: skip
def test_activations_are_known_however_they_are_written(place, expected):
    traced = trace(relu_in(place), (1, 2))
    found = [node.name for node in traced.graph.nodes if graph.is_activation(traced, node)]
    assert found == expected


def by_groups(layer):
    """[group][output][input] -> the kernel, flattened, from the definition of the two layouts."""
    groups = getattr(layer, "groups", 1)
    rows = []
    transposed = isinstance(layer, nn.ConvTranspose2d)
    for group in range(groups):
        size = len(layer.weight) // groups
        part = layer.weight[group * size : (group + 1) * size]
        outputs, inputs = (part.shape[1], size) if transposed else (size, part.shape[1])
        rows.append(
            [
                [
                    (part[i, o] if transposed else part[o, i]).flatten().tolist()
                    for i in range(inputs)
                ]
                for o in range(outputs)
            ]
        )
    return rows


LAYERS = [
    nn.Linear(3, 5),
    nn.Conv2d(4, 6, (2, 3)),
    nn.Conv2d(4, 6, 3, groups=2),
    nn.Conv1d(4, 8, 3, groups=4),
    nn.ConvTranspose2d(4, 6, (2, 3)),
    nn.ConvTranspose2d(4, 6, 3, groups=2),
]


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_weights_by_group_and_back(layer):
    terms = grouped(layer, layer.weight)
    kernel = by_groups(layer)
    if isinstance(layer, nn.Linear):
        kernel = [[[[w] for w in row] for row in layer.weight.tolist()]]
    assert terms.tolist() == kernel
    assert torch.equal(ungrouped(layer, terms, layer.weight.shape), layer.weight)
