from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, fx, nn

from prunecli.network.flow import Flow
from prunecli.network.graph import Layer, channel_axis, grouped, one_layout, ungrouped
from prunecli.network.layers import prunable
from prunecli.types import Batches, Scores


def lookahead(
    model: nn.Module, data: Batches, *, normalize: Literal["none", "layer"] = "none"
) -> Scores:
    """Magnitude times the norms of the connected weights in the layers before and after.

    For a weight w from channel j to channel k of layer i:

        s(w) = |w| * ||W_{i-1}[j, :]||_F * ||W_{i+1}[:, k]||_F

    Neighbours are found on the network's graph. Several layers that feed or read a channel count
    together (the square root of the sum of squares); no layer counts as 1. Batch normalisation
    multiplies by gamma / sqrt(var + eps), a scaling parameter by its value, so that folding them
    into the convolution changes no score. If layers share a weight, all their calls count together.
    `normalize=layer` divides the scores of each layer by their norm.

    Raises Mismatch for a network that torch.fx cannot trace, that uses parameters of its own other
    than to scale and to add, or in which layers of different kinds share a weight.

    Source: Park et al., Lookahead, ICLR 2020, arXiv 2002.04809, eq. 5 (3.3 in the foresight thesis)
    """
    norms = _Norms(model, data.input_shape)
    after = norms.after()
    scores = {}
    for name, w in prunable(model).items():
        if name not in after:  # the model does not use it
            scores[name] = torch.zeros_like(w, dtype=torch.float64)
            continue
        layer = model.get_submodule(name.removesuffix("weight").removesuffix("."))
        terms = grouped(layer, w.detach().abs().double())
        groups, outputs, inputs, _ = terms.shape
        terms = terms * norms.before[name].sqrt().reshape(groups, 1, inputs, 1)
        terms = terms * after[name].sqrt().reshape(groups, outputs, 1, 1)
        score = ungrouped(layer, terms, w.shape)
        scores[name] = score / score.norm().clamp(min=1e-300) if normalize == "layer" else score
    return scores


class _Call(NamedTuple):
    """One call of a layer: its node, its input, its squared weights, and its output."""

    node: fx.Node
    arriving: Tensor
    squares: Tensor
    gives: Tensor


class _Norms(Flow):
    """Finds the norms of neighbouring layers: every layer outputs the squared norms of its rows.

    A layer's input is then the squared norms of the layers that feed it. Sum (input * squared norms
    of the columns) over all layers: the derivative by a layer's output is the squared norms of the
    columns that read it. Normalisations and scales multiply what passes through them; those right
    after a layer are folded into its columns.
    """

    def __init__(self, model: nn.Module, input_shape: tuple[int, ...]) -> None:
        super().__init__(model, input_shape)
        one_layout(self.traced, self.weights)
        self.before: dict[str, Tensor] = {}
        self.calls: list[_Call] = []

    def factor(self, value: Tensor) -> Tensor:
        return value.square()

    def layer(self, call: fx.Node, module: Layer, x: Tensor) -> Tensor:
        axis, name = channel_axis(module) % x.ndim, self.weights[call]
        squares = grouped(module, module.weight.detach().double().square())
        arriving = x.mean([d for d in range(x.ndim) if d != axis])
        self.before[name] = self.before.get(name, 0) + arriving.detach()
        gives = squares.sum((2, 3)).flatten().requires_grad_()
        self.calls.append(_Call(call, arriving, squares, gives))
        with torch.no_grad():
            shape = module(x.to(module.weight.dtype)).shape
        return gives.reshape(-1, *[1] * (len(shape) - 1 - axis)).expand(shape)

    def _folded(self, call: _Call) -> Tensor:
        """The squared factors by which the nodes right after a layer multiply its rows."""
        last = self.straight_behind(call.node)
        if last is call.node:
            return torch.ones((), dtype=call.squares.dtype, device=call.squares.device)
        # All linear, so the slope is the factor; every channel has the same share of the mean.
        mean = self.env[last].mean() * call.gives.numel()
        (factor,) = torch.autograd.grad(mean, call.gives, retain_graph=True)
        return factor.reshape(call.squares.shape[0], call.squares.shape[1], 1, 1)

    def after(self) -> dict[str, Tensor]:
        total = self.total()
        for call in self.calls:
            columns = (call.squares * self._folded(call)).sum((1, 3)).flatten()
            total = total + (call.arriving * columns).sum()
        leaves = [call.gives for call in self.calls]
        slopes = torch.autograd.grad(total, leaves, materialize_grads=True)
        after: dict[str, Tensor] = {}
        for call, slope in zip(self.calls, slopes, strict=True):
            name = self.weights[call.node]
            after[name] = after.get(name, 0) + slope
        return after
