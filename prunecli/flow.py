"""The network's graph, run on something other than images."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _NormBase
from torch.utils._pytree import tree_leaves

from prunecli.errors import Mismatch, PruneError
from prunecli.graph import ACTIVATIONS, LAYERS, Layer, is_layer, trace, weight_names, word
from prunecli.shortage import raise_shortage

NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)

# As `word` says them: Python's operators, in place or not, torch's functions and its methods.
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


class Flow(fx.Interpreter):
    """Runs a model's graph on non-negative amounts that flow through it, in float64.

    What a Conv or Linear does to them is for `layer` to say. Parameters, buffers and numbers, and
    what the model computes from these alone, are no amounts. Where they multiply or divide amounts
    `factor` says what becomes of these, where a normalisation does, `gain`; what is added to them
    brings nothing along. A difference is a sum, since amounts do not cancel. Activations let
    everything pass and max pooling takes the mean, so that amounts are neither bent nor lost. All
    else (sums, reshaping, slicing, concatenation) is done as the model does it, so residual,
    grouped, re-used and re-ordered channels are right without a rule for each.

    `flows` are the nodes that give amounts, `straight` those of them that multiply, shift or
    reshape what they take, and do nothing else.
    """

    def __init__(self, model: nn.Module) -> None:
        self.traced = trace(model)
        # Nothing is thrown away, for what came out of a layer may be asked for behind the run.
        super().__init__(self.traced, garbage_collect_values=False)
        self.extra_traceback = False  # or torch adds lines to the message of a Mismatch
        self.parameter = next(model.parameters())
        self.weights = weight_names(self.traced, model)
        self.flows: set[fx.Node] = set()
        self.straight: set[fx.Node] = set()

    def layer(self, call: fx.Node, module: Layer, x: Tensor) -> Tensor:
        """What one call of a layer gives for `x`; `weights` has the name of its weight."""
        raise NotImplementedError

    def factor(self, value: Tensor) -> Tensor:
        """What amounts are multiplied by where the model multiplies by `value`."""
        raise NotImplementedError

    def gain(self, value: Tensor) -> Tensor:
        """What amounts are multiplied by where a normalisation multiplies by `value`."""
        return self.factor(value)

    def total(self, input_shape: tuple[int, ...]) -> Tensor:
        """The sum over output channels, each averaged over space, for an input of ones."""
        ones = torch.ones(1, *input_shape, dtype=torch.float64, device=self.parameter.device)
        with torch.enable_grad():
            outputs = [out for out in tree_leaves(self.run(ones)) if isinstance(out, Tensor)]
            return torch.stack([out.flatten(2).mean(2).sum() if out.ndim > 2 else out.sum()
                                for out in outputs]).sum()  # fmt: skip

    def straight_behind(self, call: fx.Node) -> fx.Node:
        """The last of the nodes behind a layer that could be folded into it."""
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
        except Exception as error:  # other people's modules, on what they were not made for
            raise_shortage(error)
            raise _untold(n, str(error).partition("\n")[0]) from None
        if reached and any(map(_continuous, tree_leaves(value))):  # not so a shape, or a comparison
            self.flows.add(n)
        return value

    def get_attr(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        value = super().get_attr(target, args, kwargs)
        return value.detach().double() if value.is_floating_point() else value

    def _flow(self, n: fx.Node) -> Any:
        """What a call gives that takes amounts, or that is a layer's."""
        name = word(self.traced, n)
        if n.op == "call_module":
            return self._module(n, self.fetch_attr(str(n.target)))
        if name in ACTIVATIONS | SIGNS:
            return self.env[n.all_input_nodes[0]]
        if name in ARITHMETIC:
            return self._arithmetic(n, name)
        if name in BY_CHANNEL | BY_FEATURE:
            return self._normalised(n, self._arguments(n), name in BY_FEATURE)
        if name in INVERSES:
            raise _untold(n, "it divides by that")
        return self._as_is(n)

    def _module(self, n: fx.Node, module: nn.Module) -> Any:
        x = self.env[n.all_input_nodes[0]]
        if isinstance(module, LAYERS):
            if n.all_input_nodes[0] not in self.flows:
                raise _untold(n, "what it takes does not depend on the input")
            return self.layer(n, module, x)
        if isinstance(module, NORMS):
            parts: dict[str, Any] = {"input": x, "eps": module.eps}
            parts |= dict(module.named_parameters()) | dict(module.named_buffers())
            return self._normalised(n, parts, isinstance(module, nn.LayerNorm | nn.RMSNorm))
        if isinstance(module, nn.modules.pooling._MaxPoolNd) and _one(module.dilation):
            averaged = getattr(F, f"avg_pool{type(module).__name__[-2:]}")
            return averaged(x, module.kernel_size, module.stride, module.padding,
                            ceil_mode=module.ceil_mode, count_include_pad=False)  # fmt: skip
        return x if word(self.traced, n) in ACTIVATIONS else self._as_is(n)

    def _arithmetic(self, n: fx.Node, name: str) -> Tensor:
        first, second = (arg in self.flows for arg in n.args)
        if second and name in QUOTIENTS:
            raise _untold(n, "it divides by that")
        if n.kwargs:
            raise _untold(n, f"with {', '.join(n.kwargs)}")
        one, other = self.fetch_args_kwargs_from_env(n)[0]
        if first and second:
            value: Tensor = one + other if name in SUMS else one * other
        else:
            value = self._with_constant(name, *((one, other) if first else (other, one)))
            self.straight.add(n)
        if _in_place(n):  # the model may go on with either
            self.env[n.all_input_nodes[0]] = value
        return value

    def _with_constant(self, name: str, amounts: Tensor, constant: Any) -> Tensor:
        constant = torch.as_tensor(constant, dtype=amounts.dtype)
        if name in SUMS:
            return amounts + torch.zeros_like(constant)  # it may still be the larger one
        return amounts * self.factor(constant if name in PRODUCTS else 1 / constant)

    def _arguments(self, n: fx.Node) -> dict[str, Any]:
        """Those of a functional normalisation, by name."""
        found = n.normalized_arguments(self.traced, normalize_to_only_use_kwargs=True)
        flows = [node for node in n.all_input_nodes if node in self.flows]
        named = dict(found.kwargs) if found else {}
        if found and found.args:  # torch before 2.11 leaves those of a Python function as they are
            named |= zip(signature(cast(Any, n.target)).parameters, found.args, strict=False)
        if flows != [named.get("input")]:
            raise _untold(n, "it takes more than one thing that depends on the input")
        parts = {name: self.env[arg] if isinstance(arg, fx.Node) else arg
                 for name, arg in named.items()}  # fmt: skip
        if parts.get("training") or parts.get("use_input_stats"):
            del parts["running_var"]
        return parts

    def _normalised(self, n: fx.Node, parts: Mapping[str, Any], by_feature: bool) -> Tensor:
        """What passes a normalisation: all, times weight / sqrt(variance) as far as both exist."""
        self.straight.add(n)
        x: Tensor = parts["input"]
        weight, variance = parts.get("weight"), parts.get("running_var")
        value = torch.ones((), dtype=x.dtype) if weight is None else weight.detach().double()
        if variance is not None:
            value = value / (variance.double() + parts["eps"]).sqrt()
        if by_feature or value.ndim == 0:
            return x * self.gain(value)
        return x * self.gain(value).reshape(-1, *[1] * (x.ndim - 2))

    def _as_is(self, n: fx.Node) -> Any:
        """As the model does it, unless that would take parameters for amounts."""
        for node in n.all_input_nodes:
            for value in tree_leaves(self.env[node]) if node not in self.flows else ():
                if _continuous(value) and value.any():  # zeros, as for padding, are no amounts
                    raise _untold(n, f"it neither multiplies by {node.name!r} nor adds it")
        if word(self.traced, n) in SHAPES:
            self.straight.add(n)
        return super().run_node(n)


def _untold(n: fx.Node, why: str) -> Mismatch:
    name = str(n.target) if n.op == "call_module" else n.name
    return Mismatch(
        f"nothing can be said of what flows through {name!r} ({why}); of the methods only "
        "lookahead needs that"
    )


def _continuous(value: Any) -> bool:
    return isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex())


def _in_place(n: fx.Node) -> bool:
    name = n.target if isinstance(n.target, str) else getattr(n.target, "__name__", "")
    return name.endswith("_") or name in {"iadd", "isub", "imul", "itruediv"}


def _one(size: int | tuple[int, ...]) -> bool:
    return size == 1 or (isinstance(size, tuple) and set(size) == {1})
