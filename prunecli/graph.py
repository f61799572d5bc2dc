"""Which weight feeds which: the network as a graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor, fx, nn
from torch.nn.modules import activation
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from prunecli.errors import Mismatch
from prunecli.masks import prunable
from prunecli.shortage import raise_shortage

Layer: TypeAlias = _ConvNd | nn.Linear
LAYERS = (_ConvNd, nn.Linear)
ACTIVATIONS = {name.lower() for name in activation.__all__} - {"glu", "multiheadattention"}
"""As the class or function is called, in lower case and without underscores."""

NEED_GRAPH = "the methods activation, lookahead and synflow need that, the others do not"
NEED_SUM = "the methods activation and lookahead need that, the others do not"


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
        raise_shortage(error)
        place = repr(tracer.inside[-1]) if tracer.inside else "the forward"
        why = str(error).partition("\n")[0]
        raise Mismatch(
            f"torch.fx cannot trace {place} of {type(model).__name__} ({why}); {NEED_GRAPH}"
        ) from None
    called = {node.target for node in graph.graph.nodes if is_layer(graph, node)}
    for name, module in model.named_modules(remove_duplicate=True):
        if isinstance(module, LAYERS) and name not in called:
            raise Mismatch(
                f"{name or 'the whole'!r} of {type(model).__name__} is not called as a module of "
                f"its own, so its place in the network cannot be told; {NEED_GRAPH}"
            )
    return graph


def is_activation(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a node of a traced graph applies an activation function, however it is written."""
    return word(graph, node) in ACTIVATIONS


def is_layer(graph: fx.GraphModule, node: fx.Node) -> bool:
    return node.op == "call_module" and isinstance(graph.get_submodule(str(node.target)), LAYERS)


def word(graph: fx.GraphModule, node: fx.Node) -> str:
    """What a node calls: a class, a function or a method, in lower case, without underscores."""
    if node.op == "call_module":
        return _plain(type(graph.get_submodule(str(node.target))).__name__)
    if node.op == "call_function":
        return _plain(getattr(node.target, "__name__", ""))
    return _plain(str(node.target)) if node.op == "call_method" else ""


def _plain(name: str) -> str:
    return name.lower().replace("_", "")


def weight_names(graph: fx.GraphModule, model: nn.Module) -> dict[fx.Node, str]:
    """Of every call of a layer, the name of its weight: of a shared one the first, as in masks."""
    first = {weight: name for name, weight in prunable(model).items()}
    names = {}
    for node in graph.graph.nodes:
        if is_layer(graph, node):
            weight = cast(Tensor, graph.get_submodule(str(node.target)).weight)
            names[node] = first.get(weight, f"{node.target}.weight")
    return names


def one_layout(graph: fx.GraphModule, weights: dict[fx.Node, str]) -> None:
    """Raises Mismatch for a weight whose rows are outputs in one layer and inputs in another."""
    layouts: dict[str, tuple[bool, int]] = {}
    for node, name in weights.items():
        module = graph.get_submodule(str(node.target))
        layout = isinstance(module, _ConvTransposeNd), int(getattr(module, "groups", 1))
        if layouts.setdefault(name, layout) != layout:
            raise Mismatch(
                f"{name!r} is shared by {str(node.target)!r}, which orders its channels in another "
                f"way, so that no sum over both can be formed; {NEED_SUM}"
            )


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
