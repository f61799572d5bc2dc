"""Interpretation of a network's graph on non-negative amounts instead of images."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.pooling import _MaxPoolNd
from torch.utils._pytree import tree_leaves

from prunecli.errors import Mismatch, PruneError
from prunecli.network.graph import ACTIVATIONS, LAYERS, Layer, is_layer, trace, weight_names, word
from prunecli.runtime.shortage import raise_shortage

NEED_FLOW = "only the methods lookahead and synflow need this"

NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)

# Names as `word` gives them: Python's operators, torch's functions and methods.
SUMS = {"add", "iadd", "sub", "isub", "subtract", "rsub"}
PRODUCTS = {"mul", "imul", "multiply"}
QUOTIENTS = {"truediv", "itruediv", "div", "divide", "truedivide"}
ARITHMETIC = SUMS | PRODUCTS | QUOTIENTS
SIGNS = {"neg", "negative", "pos", "positive"}
INVERSES = {"reciprocal", "rsqrt"}
BY_CHANNEL = {"batchnorm", "groupnorm", "instancenorm"}
BY_FEATURE = {"layernorm", "rmsnorm"}
SHAPES = {
    "contiguous", "flatten", "identity", "permute", "reshape", "squeeze", "transpose", "unsqueeze",
    "view",
}  # fmt: skip


_TRACED: WeakKeyDictionary[nn.Module, tuple[object, fx.GraphModule]] = WeakKeyDictionary()


class Flow(fx.Interpreter):
    """Runs a model's graph on non-negative amounts, in float64.

    Amounts are values that depend on the input. Parameters, buffers, numbers, and what the model
    computes from these alone, are constants. A subclass defines the operations:

    - `layer`: a call of a Conv or Linear.
    - `factor`: multiplication or division by a constant; `gain`: the same in a normalisation.
    - `shift`: addition of a constant tensor; by default nothing is added.
    - `product`: two amounts multiplied, as in a gate.
    - `pooled`: max pooling; by default the mean, which is linear and loses no amount.
    - `as_is`: anything else. By default the model's own operation, so residual, grouped, reused and
      reordered channels need no rules.

    Subtraction adds, since amounts do not cancel. Activations are the identity. `flows` are the
    nodes that return amounts; `straight` are those that only multiply, shift or reshape them.
    """

    def __init__(self, model: nn.Module, input_shape: tuple[int, ...]) -> None:
        self.input_shape = (1, *input_shape)
        self.traced = _traced(model, self.input_shape)
        # Values are kept, since a layer's output may be needed after the run.
        super().__init__(self.traced, garbage_collect_values=False)
        self.extra_traceback = False  # or torch adds lines to the message of a Mismatch
        self.parameter = next(model.parameters())
        self.weights = weight_names(self.traced, model)
        self.flows: set[fx.Node] = set()
        self.straight: set[fx.Node] = set()

    def layer(self, call: fx.Node, module: Layer, x: Tensor) -> Tensor:
        """The output of one call of a layer for `x`; its weight's name is `weights[call]`."""
        raise NotImplementedError

    def factor(self, value: Tensor) -> Tensor:
        """The factor for amounts that the model multiplies by `value`."""
        raise NotImplementedError

    def gain(self, value: Tensor) -> Tensor:
        """The factor for amounts that a normalisation multiplies by `value`."""
        return self.factor(value)

    def shift(self, value: Tensor) -> Tensor:
        """The term for amounts that the model adds `value` to."""
        return torch.zeros_like(value)

    def product(self, one: Tensor, other: Tensor) -> Tensor:
        """The product of two amounts that the model multiplies."""
        return one * other

    def pooled(self, module: _MaxPoolNd, x: Tensor) -> Tensor:
        """The output of max pooling for `x`: the mean of each window, unless it is dilated."""
        if not _one(module.dilation):
            return cast(Tensor, module(x))
        averaged = getattr(F, f"avg_pool{type(module).__name__[-2:]}")
        mean: Tensor = averaged(x, module.kernel_size, module.stride, module.padding,
                                ceil_mode=module.ceil_mode, count_include_pad=False)  # fmt: skip
        return mean

    def as_is(self, call: fx.Node) -> Any:
        """The output of a call without a rule: the model's own, applied to the amounts."""
        return super().run_node(call)

    def total(self) -> Tensor:
        """The sum over output channels, each averaged over space, for an input of ones."""
        ones = torch.ones(self.input_shape, dtype=torch.float64, device=self.parameter.device)
        with torch.enable_grad():
            outputs = [out for out in tree_leaves(self.run(ones)) if isinstance(out, Tensor)]
            return torch.stack([out.flatten(2).mean(2).sum() if out.ndim > 2 else out.sum()
                                for out in outputs]).sum()  # fmt: skip

    def straight_behind(self, call: fx.Node) -> fx.Node:
        """The last node after a layer that could be folded into it."""
        node = call
        while True:
            takers = [user for user in node.users if user in self.flows]
            if len(takers) != 1 or takers[0] not in self.straight:
                return node
            node = takers[0]

    def run_node(self, n: fx.Node) -> Any:
        reached = n.op == "placeholder" or any(node in self.flows for node in n.all_input_nodes)
        try:
            flowing = n.op.startswith("call") and (reached or is_layer(self.traced, n))
            value = self._flow(n) if flowing else super().run_node(n)
        except PruneError:
            raise
        except Exception as error:  # other people's modules may raise anything for such inputs
            raise_shortage(error)
            raise untold(n, str(error).partition("\n")[0]) from None
        if reached and any(map(_continuous, tree_leaves(value))):  # unlike a shape or a comparison
            self.flows.add(n)
        return value

    def get_attr(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        value = super().get_attr(target, args, kwargs)
        return value.detach().double() if value.is_floating_point() else value

    def _flow(self, n: fx.Node) -> Any:
        """The output of a call that takes amounts, or of a layer."""
        name = word(self.traced, n)
        if name in ACTIVATIONS | SIGNS:
            return self.env[n.all_input_nodes[0]]
        if name == "glu":
            return self._gated(n)
        if n.op == "call_module":
            return self._module(n, self.fetch_attr(str(n.target)))
        if name in ARITHMETIC:
            return self._arithmetic(n, name)
        if name in BY_CHANNEL | BY_FEATURE:
            return self._normalised(n, self._arguments(n), name in BY_FEATURE)
        if name in INVERSES:
            raise untold(n, "it divides by that")
        return self._as_is(n)

    def _module(self, n: fx.Node, module: nn.Module) -> Any:
        x = self.env[n.all_input_nodes[0]]
        if isinstance(module, LAYERS):
            if n.all_input_nodes[0] not in self.flows:
                raise untold(n, "its input does not depend on the input of the network")
            return self.layer(n, module, x)
        if isinstance(module, NORMS):
            parts: dict[str, Any] = {"input": x, "eps": module.eps}
            parts |= dict(module.named_parameters()) | dict(module.named_buffers())
            return self._normalised(n, parts, isinstance(module, nn.LayerNorm | nn.RMSNorm))
        if isinstance(module, _MaxPoolNd):
            return self.pooled(module, x)
        return self._as_is(n)

    def _gated(self, n: fx.Node) -> Tensor:
        """A gated linear unit: one half of the channels times the other."""
        module = self.fetch_attr(str(n.target)) if n.op == "call_module" else None
        dim = module.dim if module else n.kwargs.get("dim", (*n.args, -1)[1])
        one, other = self.env[n.all_input_nodes[0]].chunk(2, dim)
        return self.product(one, other)

    def _arithmetic(self, n: fx.Node, name: str) -> Tensor:
        first, second = (arg in self.flows for arg in n.args)
        if second and name in QUOTIENTS:
            raise untold(n, "it divides by that")
        if n.kwargs:
            raise untold(n, f"with {', '.join(n.kwargs)}")
        one, other = self.fetch_args_kwargs_from_env(n)[0]
        if first and second:
            value: Tensor = one + other if name in SUMS else self.product(one, other)
        else:
            value = self._with_constant(name, *((one, other) if first else (other, one)))
            self.straight.add(n)
        if _in_place(n):  # the model may use either name
            self.env[n.all_input_nodes[0]] = value
        return value

    def _with_constant(self, name: str, amounts: Tensor, constant: Any) -> Tensor:
        if name in SUMS:
            # Zeros are added too: they may broadcast. Plain numbers are parts of activations.
            return amounts + (self.shift(constant) if isinstance(constant, Tensor) else 0)
        constant = torch.as_tensor(constant, dtype=amounts.dtype, device=amounts.device)
        return amounts * self.factor(constant if name in PRODUCTS else 1 / constant)

    def _arguments(self, n: fx.Node) -> dict[str, Any]:
        """The arguments of a functional normalisation, by name."""
        found = n.normalized_arguments(self.traced, normalize_to_only_use_kwargs=True)
        flows = [node for node in n.all_input_nodes if node in self.flows]
        named = dict(found.kwargs) if found else {}
        if found and found.args:  # torch before 2.11 does not name a Python function's
            named |= zip(signature(cast(Any, n.target)).parameters, found.args, strict=False)
        if flows != [named.get("input")]:
            raise untold(n, "several of its inputs depend on the input of the network")
        parts = {name: self.env[arg] if isinstance(arg, fx.Node) else arg
                 for name, arg in named.items()}  # fmt: skip
        if parts.get("training") or parts.get("use_input_stats"):
            del parts["running_var"]
        return parts

    def _normalised(self, n: fx.Node, parts: Mapping[str, Any], by_feature: bool) -> Tensor:
        """x * gain(s) + shift(bias - mean * s), with s = weight / sqrt(variance + eps).

        Mean and variance are the running ones; without them, s = weight and mean = 0. A missing
        weight is 1, a missing bias 0.
        """
        self.straight.add(n)
        x: Tensor = parts["input"]
        variance = parts.get("running_var")
        scale, offset = _known(parts, "weight", 1, x), _known(parts, "bias", 0, x)
        if variance is not None:
            scale = scale / (variance.double() + parts["eps"]).sqrt()
            offset = offset - _known(parts, "running_mean", 0, x) * scale
        by_channel = (-1, *[1] * (x.ndim - 2))
        gain, shift = (value if by_feature or value.ndim == 0 else value.reshape(by_channel)
                       for value in (self.gain(scale), self.shift(offset)))  # fmt: skip
        return x * gain + shift

    def _as_is(self, n: fx.Node) -> Any:
        """`as_is`, but raises Mismatch if the call would take parameters for amounts."""
        for node in n.all_input_nodes:
            for value in tree_leaves(self.env[node]) if node not in self.flows else ():
                if _continuous(value) and value.any():  # zeros, as for padding, add nothing
                    raise untold(n, f"it neither multiplies by {node.name!r} nor adds it")
        if word(self.traced, n) in SHAPES:
            self.straight.add(n)
        return self.as_is(n)


def _traced(model: nn.Module, input_shape: tuple[int, ...]) -> fx.GraphModule:
    """The graph, cached while the model has the same parts: pruning in rounds asks often."""
    parts = [(name, id(module), module.training) for name, module in model.named_modules()]
    state = [(name, id(t)) for name, t in [*model.named_parameters(), *model.named_buffers()]]
    made_of = input_shape, parts, state
    if model not in _TRACED or _TRACED[model][0] != made_of:
        _TRACED[model] = made_of, trace(model, input_shape)
    return _TRACED[model][1]


def untold(n: fx.Node, why: str, need: str = NEED_FLOW) -> Mismatch:
    """The error that names the call whose flow is undefined."""
    name = str(n.target) if n.op == "call_module" else n.name
    return Mismatch(f"the flow through {name!r} cannot be followed ({why}); {need}")


def _known(parts: Mapping[str, Any], name: str, otherwise: float, x: Tensor) -> Tensor:
    """A part of a normalisation, or a number if it is missing."""
    part = parts.get(name)
    if part is None:
        return x.new_full((), otherwise)
    return cast(Tensor, part).detach().double()


def _continuous(value: Any) -> bool:
    return isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex())


def _in_place(n: fx.Node) -> bool:
    name = n.target if isinstance(n.target, str) else getattr(n.target, "__name__", "")
    return name.endswith("_") or name in {"iadd", "isub", "imul", "itruediv"}


def _one(size: int | tuple[int, ...]) -> bool:
    return size == 1 or (isinstance(size, tuple) and set(size) == {1})
