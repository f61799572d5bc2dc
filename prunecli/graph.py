"""Which weight feeds which: the network's graph, run on something other than images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.modules import activation
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.utils._pytree import tree_leaves

from prunecli.errors import Mismatch, PruneError

Layer: TypeAlias = _ConvNd | nn.Linear
Norm: TypeAlias = _BatchNorm | nn.LayerNorm | nn.GroupNorm
LAYERS, NORMS = (_ConvNd, nn.Linear), (_BatchNorm, nn.LayerNorm, nn.GroupNorm)
ACTIVATIONS = {name.lower() for name in activation.__all__} - {"glu", "multiheadattention"}
"""As the class or function is called, in lower case and without underscores."""

NEED_IT = "the methods activation and lookahead need that, the others do not"


class _Tracer(fx.Tracer):
    """Keeps Conv and Linear modules whole, also derived ones, and knows where it is."""

    def __init__(self) -> None:
        super().__init__()
        self.inside: list[str] = []

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, LAYERS) or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        self.inside.append(self.path_of_module(m))
        result = super().call_module(m, forward, args, kwargs)
        self.inside.pop()
        return result


def trace(model: nn.Module) -> fx.GraphModule:
    """The model as a graph in which every Conv and Linear is a node.

    Raises Mismatch naming the module that torch.fx cannot trace, or that the graph does not call.
    """
    tracer = _Tracer()
    try:
        graph = fx.GraphModule(model, tracer.trace(model))
    except Exception as error:  # other people's forward: it may raise anything
        place = repr(tracer.inside[-1]) if tracer.inside else "the forward"
        why = str(error).partition("\n")[0]
        raise Mismatch(
            f"torch.fx cannot trace {place} of {type(model).__name__} ({why}); {NEED_IT}"
        ) from None
    called = {node.target for node in graph.graph.nodes if is_layer(graph, node)}
    for name, module in model.named_modules(remove_duplicate=True):
        if isinstance(module, LAYERS) and name not in called:
            raise Mismatch(
                f"{name or 'the whole'!r} of {type(model).__name__} is not called as a module of "
                f"its own, so its place in the network cannot be told; {NEED_IT}"
            )
    return graph


def is_activation(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a node of a traced graph applies an activation function, however it is written."""
    if node.op == "call_module":
        return _word(type(graph.get_submodule(str(node.target)))) in ACTIVATIONS
    return node.op in ("call_function", "call_method") and _word(node.target) in ACTIVATIONS


def is_layer(graph: fx.GraphModule, node: fx.Node) -> bool:
    return node.op == "call_module" and isinstance(graph.get_submodule(str(node.target)), LAYERS)


def norm_behind(graph: fx.GraphModule, layer: fx.Node) -> Norm | None:
    """The normalisation that takes a layer's output as it is, if there is one."""
    for user in layer.users:
        if user.op == "call_module":
            module = graph.get_submodule(str(user.target))
            if isinstance(module, NORMS):
                return module
    return None


def _word(target: Any) -> str:
    name = target if isinstance(target, str) else getattr(target, "__name__", "")
    return name.lower().replace("_", "")


def channel_axis(module: nn.Module) -> int:
    """Where the channels are in what a Conv or Linear takes and gives."""
    return -1 if isinstance(module, nn.Linear) else 1


def grouped(module: nn.Module, weight: Tensor) -> Tensor:
    """A layer's weight, or anything of its shape, as [groups, outputs, inputs, kernel].

    Outputs and inputs count within the group; `flatten(0, 1)` of what is left after summing over
    the others numbers the layer's channels.
    """
    groups = module.groups if isinstance(module, _ConvNd) else 1
    if isinstance(module, _ConvTransposeNd):
        return weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1).transpose(
            1, 2
        )
    return weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)


def ungrouped(module: nn.Module, weight: Tensor, shape: torch.Size) -> Tensor:
    """The inverse of `grouped`."""
    if isinstance(module, _ConvTransposeNd):
        weight = weight.transpose(1, 2)
    return weight.reshape(shape)


class Flow(fx.Interpreter):
    """Runs a model's graph on non-negative amounts that flow through it, in float64.

    What a Conv or Linear does to them is for `layer` to say, what a normalisation for `scale`.
    Activations let everything pass and max pooling takes the mean, so that amounts are neither
    bent nor lost. All else (sums, reshaping, slicing, concatenation) is done as the model does it,
    so residual, grouped, re-used and re-ordered channels are right without a rule for each.
    """

    def __init__(self, model: nn.Module) -> None:
        self.traced = trace(model)
        super().__init__(self.traced)
        self.parameter = next(model.parameters())

    def layer(self, name: str, module: Layer, x: Tensor) -> Tensor:
        """What the layer called `name` gives for `x`."""
        raise NotImplementedError

    def scale(self, module: Norm) -> Tensor | None:
        """The factor per channel of a normalisation; None for 1."""
        return None

    def total(self, input_shape: tuple[int, ...]) -> Tensor:
        """The sum over output channels, each averaged over space, for an input of ones."""
        ones = torch.ones(1, *input_shape, dtype=torch.float64, device=self.parameter.device)
        with torch.enable_grad():
            outputs = [out for out in tree_leaves(self.run(ones)) if isinstance(out, Tensor)]
            return torch.stack([out.flatten(2).mean(2).sum() if out.ndim > 2 else out.sum()
                                for out in outputs]).sum()  # fmt: skip

    def run_node(self, n: fx.Node) -> Any:
        try:
            return super().run_node(n)
        except PruneError:
            raise
        except Exception as error:  # other people's modules, on what they were not made for
            why = str(error).partition("\n")[0]
            raise Mismatch(
                f"nothing can be said of what flows through {str(n.target)!r} ({why}); {NEED_IT}"
            ) from None

    def get_attr(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        value = super().get_attr(target, args, kwargs)
        return value.double() if value.is_floating_point() else value

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        module = self.fetch_attr(target)
        if isinstance(module, LAYERS):
            return self.layer(target, module, args[0])
        if isinstance(module, NORMS):
            return self._scaled(module, args[0])
        if isinstance(module, nn.modules.pooling._MaxPoolNd) and _one(module.dilation):
            averaged = getattr(F, f"avg_pool{type(module).__name__[-2:]}")
            return averaged(args[0], module.kernel_size, module.stride, module.padding,
                            ceil_mode=module.ceil_mode, count_include_pad=False)  # fmt: skip
        if _word(type(module)) in ACTIVATIONS:
            return args[0]
        return super().call_module(target, args, kwargs)

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return args[0] if _passes(target) else super().call_function(target, args, kwargs)

    def call_method(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return args[0] if _passes(target) else super().call_method(target, args, kwargs)

    def _scaled(self, module: Norm, x: Tensor) -> Tensor:
        factor = self.scale(module)
        if factor is None:
            return x
        if isinstance(module, nn.LayerNorm):
            return x * factor
        return x * factor.reshape(-1, *[1] * (x.ndim - 2))


def _passes(target: Any) -> bool:
    return _word(target) in ACTIVATIONS


def _one(size: int | tuple[int, ...]) -> bool:
    return size == 1 or (isinstance(size, tuple) and set(size) == {1})
