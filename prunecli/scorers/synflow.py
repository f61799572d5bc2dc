from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call
from torch.nn.modules.pooling import _MaxPoolNd
from torch.utils._pytree import tree_leaves, tree_map

from prunecli.errors import Mismatch
from prunecli.network.flow import Flow, untold
from prunecli.network.graph import Layer
from prunecli.network.layers import prunable
from prunecli.types import Batches, Scores, iterative

SAFE = 1e100
"""Values between this and its inverse can be multiplied and summed in float64."""


@iterative(rounds=100)
def synflow(model: nn.Module, data: Batches, *, conserve: bool = False) -> Scores:
    """Synaptic flow: the share of the flow from input to output that passes through a weight.

    With every parameter replaced by its magnitude and an input of ones, R = sum of the outputs and

        s_j = |theta_j| * dR/d|theta_j| / R

    in float64. Dividing by R only sets the unit: R reaches 1e51 in a ResNet-56, beyond float32's
    limit of 3e38. No data is used; batch normalisation is in evaluation mode. With `conserve`,
    biases are left out and normalisations and scales are the identity: the flow into a hidden unit
    then equals the flow out of it, and the scores of each layer of a plain network add up to 1.

    The paper uses networks of ReLU and batch normalisation. In other networks R is not proportional
    to the weights: other activations saturate at such values, and a normalisation that subtracts
    the mean cancels them. So here

    - every activation is the identity, as ReLU is for magnitudes
    - a normalisation multiplies by |gamma| / sqrt(var + eps), if it has a running variance, and
      adds |beta - mean gamma / sqrt(var + eps)|: subtracting the running mean (zero in a fresh
      network) from magnitudes would give negative scores
    - differences are sums
    - the product a * b of a gate is sqrt(|a| |b|): each factor gets half of the flow

    so no score is negative. Without biases, the scores of any set of weights that every path from
    input to output crosses once add up to 1, in any network.

    Pruned in one round, this empties layers as other methods do; by default `mask` takes 100
    rounds, as in the paper.

    Raises Mismatch for a network that torch.fx cannot trace, or that has an operation not
    proportional to its input, such as attention.

    Source: Tanaka et al., SynFlow, NeurIPS 2020, arXiv 2006.05467, eqs. 1 and 2 and algorithm 1
    """
    flow = _Magnitudes(model, data.input_shape, conserve)
    r = flow.total()
    called = list(flow.theta.values())
    slopes = torch.autograd.grad(r, called, materialize_grads=True) if called else ()
    unit = r.detach() if r else torch.ones_like(r)
    scores = {name: w.detach() * slope / unit
              for (name, w), slope in zip(flow.theta.items(), slopes, strict=True)}  # fmt: skip
    if any((score < 0).any() for score in scores.values()):
        raise Mismatch(
            f"a larger weight of {type(model).__name__} lowers the flow, where synflow has no "
            "meaning; use another method"
        )
    return {name: scores[name] if name in scores else torch.zeros_like(w, dtype=torch.float64)
            for name, w in prunable(model).items()}  # fmt: skip


class _Magnitudes(Flow):
    """The network of magnitudes. `theta` holds the layers' weights by name, as magnitudes."""

    def __init__(self, model: nn.Module, input_shape: tuple[int, ...], conserve: bool) -> None:
        super().__init__(model, input_shape)
        self.conserve = conserve
        self.theta: dict[str, Tensor] = {}
        self.unit = 1.0

    def factor(self, value: Tensor) -> Tensor:
        return (value != 0).double() if self.conserve else value.abs()

    def gain(self, value: Tensor) -> Tensor:
        return torch.ones_like(value) if self.conserve else value.abs()

    def shift(self, value: Tensor) -> Tensor:
        return torch.zeros_like(value) if self.conserve else value.abs() / self.unit

    def product(self, one: Tensor, other: Tensor) -> Tensor:
        # A plain product is of degree two: after 16 gates R is beyond any float, and what enters a
        # unit no longer leaves it.
        both = (one > 0) & (other > 0)  # the slope of a root is infinite at zero
        return one.where(both, 1).sqrt() * other.where(both, 1).sqrt() * both

    def pooled(self, module: _MaxPoolNd, x: Tensor) -> Tensor:
        pooled: Tensor = module(x)
        return pooled

    def layer(self, call: fx.Node, module: Layer, x: Tensor) -> Tensor:
        name = self.weights[call]
        if name not in self.theta:
            self.theta[name] = module.weight.detach().abs().double().requires_grad_()
        state = {"weight": self.theta[name]}
        if module.bias is not None:
            state["bias"] = self.shift(module.bias.detach().double())
        value: Tensor = functional_call(module, state, (x,))
        return value

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        return self._in_range(value) if n in self.weights else value

    def as_is(self, call: fx.Node) -> Any:
        if call in self.straight:
            return super().as_is(call)
        most = max((float(x.max()) for x in self._taken(call) if x.numel()), default=0)
        scale = 2 if most <= 4 else 1 / most  # where no activation function is a straight line
        expected = self._scaled(call, scale)
        value = super().as_is(call)
        for ours, theirs in zip(_amounts(value), expected, strict=True):
            if not torch.allclose(ours.detach() * scale, theirs, rtol=1e-9, atol=1e-12):
                raise untold(
                    call,
                    "it is not proportional to its input",
                    "only the method synflow needs this",
                )
        return value

    def _taken(self, call: fx.Node) -> list[Tensor]:
        return [x for node in call.all_input_nodes if node in self.flows
                for x in map(Tensor.detach, _amounts(self.env[node]))]  # fmt: skip

    @torch.no_grad()
    def _scaled(self, call: fx.Node, scale: float) -> list[Tensor]:
        """The output of a call whose inputs are that many times larger."""

        def larger(node: fx.Node) -> Any:
            value = self.env[node]
            return _times(scale, value) if node in self.flows else value

        args, kwargs = (fx.node.map_arg(arg, larger) for arg in (call.args, call.kwargs))
        return _amounts(getattr(self, call.op)(call.target, args, kwargs))

    def _in_range(self, value: Tensor) -> Tensor:
        """A layer's output; if it nears the limits of a float, all values get a new unit.

        Every score is a share of R, so the unit does not matter as long as all values share it.
        """
        most = float(value.detach().max())
        if most == 0 or 1 / SAFE < most < SAFE:
            return value
        self.unit = max(self.unit * most, sys.float_info.min)
        for node in self.flows & self.env.keys():
            if any(user not in self.env for user in node.users):
                self.env[node] = _times(1 / most, self.env[node])
        return value / most


def _amounts(value: Any) -> list[Tensor]:
    return [x for x in tree_leaves(value) if isinstance(x, Tensor) and x.is_floating_point()]


def _times(scale: float, value: Any) -> Any:
    return tree_map(
        lambda x: x * scale if isinstance(x, Tensor) and x.is_floating_point() else x, value
    )
