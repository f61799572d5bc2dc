from __future__ import annotations

from itertools import chain
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn

from prunecli.network.graph import (
    channel_axis,
    grouped,
    is_activation,
    is_layer,
    one_layout,
    trace,
    ungrouped,
    weight_names,
)
from prunecli.network.layers import prunable
from prunecli.scorers._autograd import samples
from prunecli.types import Batches, Scores


@torch.no_grad()
def activation(
    model: nn.Module, data: Batches, *, batches: int = 1, side: Literal["out", "in"] = "out"
) -> Scores:
    """Magnitude times the mean activation of the weight's channel.

        s_j = |w_j * a_c|,    a = m / ||m||_2 per layer

    c is the output channel of w_j. m_c is the mean, over images and positions, of channel c after
    the activation function that follows the layer, or of the layer's output if none follows. With
    `side=in`, m is the mean of the layer's inputs, and c the input channel of w_j. If layers share
    a weight, all their calls count together.

    Raises Mismatch for a network that torch.fx cannot trace, or in which layers of different kinds
    share a weight.

    Source: foresight thesis, eq. 2.3
    """
    images = (inputs for inputs, _ in samples(data, batches))
    first = next(images)
    means = _Means(model, tuple(first.shape))
    for inputs in chain([first], images):
        means.run(inputs)
    scores = {}
    for name, w in prunable(model).items():
        if name not in means.calls:  # the model does not use it
            scores[name] = torch.zeros_like(w)
            continue
        layer = model.get_submodule(name.removesuffix("weight").removesuffix("."))
        terms = grouped(layer, w.abs())
        groups, outputs, ins, _ = terms.shape
        m = means.inputs[name] if side == "in" else means.outputs(name, groups * outputs)
        a = (m / m.norm().clamp(min=1e-30)).abs()
        a = a.reshape((groups, 1, ins, 1) if side == "in" else (groups, outputs, 1, 1))
        scores[name] = ungrouped(layer, terms * a, w.shape)
    return scores


class _Means(fx.Interpreter):
    """Runs a model and sums the channel means at its layers over all images."""

    def __init__(self, model: nn.Module, input_shape: tuple[int, ...]) -> None:
        self.traced = trace(model, input_shape)
        super().__init__(self.traced)
        self.weights = weight_names(self.traced, model)
        one_layout(self.traced, self.weights)
        self.inputs: dict[str, Tensor] = {}
        self.given: dict[fx.Node, Tensor] = {}
        self.axis: dict[fx.Node, int] = {}
        self.calls: dict[str, list[tuple[fx.Node, fx.Node]]] = {}
        for node, name in self.weights.items():
            follows = _activation_after(self.traced, node)
            axis = channel_axis(self.fetch_attr(str(node.target)))
            self.axis |= {node: axis, follows: axis}
            self.calls.setdefault(name, []).append((node, follows))

    def run(self, *args: Any, **options: Any) -> Any:
        self.images = len(args[0])
        return super().run(*args, **options)

    def run_node(self, n: fx.Node) -> Any:
        if n in self.weights:
            x, name = self.env[n.all_input_nodes[0]], self.weights[n]
            mean = _mean(x, self.axis[n]) * self.images
            self.inputs[name] = self.inputs.get(name, 0) + mean
        value = super().run_node(n)
        if n in self.axis:  # now: a later node may work in place
            self.given[n] = self.given.get(n, 0) + _mean(value, self.axis[n]) * self.images
        return value

    def outputs(self, name: str, channels: int) -> Tensor:
        """Means after the activation, unless its shape differs (after flattening, for example)."""
        means = [self.given[follows] for _, follows in self.calls[name]]
        if any(len(mean) != channels for mean in means):
            means = [self.given[node] for node, _ in self.calls[name]]
        return torch.stack(means).sum(0)


def _mean(x: Tensor, axis: int) -> Tensor:
    """The mean per channel, even if the activation has fewer dimensions than its layer."""
    axis %= x.ndim
    return x.mean([d for d in range(x.ndim) if d != axis])


def _activation_after(graph: fx.GraphModule, layer: fx.Node) -> fx.Node:
    """The first activation that the layer's output reaches before the next layer, else itself."""
    front = [layer]
    while front:
        front = list(dict.fromkeys(user for node in front for user in node.users))
        for node in front:
            if is_activation(graph, node):
                return node
        front = [node for node in front if not is_layer(graph, node)]
    return layer
