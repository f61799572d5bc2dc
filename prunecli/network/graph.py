"""The network as a graph: which layer feeds which."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call
from torch.fx._symbolic_trace import _maybe_revert_all_patches
from torch.fx.proxy import Attribute
from torch.nn.modules import activation
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from prunecli.errors import Mismatch, some
from prunecli.network.layers import prunable
from prunecli.runtime.shortage import raise_shortage

Layer: TypeAlias = _ConvNd | nn.Linear
LAYERS = (_ConvNd, nn.Linear)
BENDS = {"clamp", "clampmax", "clampmin", "clip", "erf"}
ACTIVATIONS = {name.lower() for name in activation.__all__} - {"glu", "multiheadattention"} | BENDS
"""Names of activation classes and functions, in lower case, without underscores. `BENDS` are
functions that activations are built from."""

NEED_GRAPH = "only the methods activation, lookahead and synflow need this"
NEED_SUM = "only the methods activation and lookahead need this"


class _Tracer(fx.Tracer):
    """Keeps Conv and Linear modules, and subclasses, whole, and tracks the current module.

    Where the model's control flow depends on shapes (an `if`, an `assert`, a loop), the nodes so
    far are run on meta tensors. They have no values, so only shapes can decide.
    """

    def __init__(self, input_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.input_shape = input_shape
        self.inside: list[str] = []
        self.shapes: dict[fx.Node, Any] = {}

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)

    def to_bool(self, obj: fx.Proxy) -> bool:
        known = self.known(obj)
        if isinstance(known, Tensor):
            raise fx.proxy.TraceError("an `if` depends on the values of its input")
        return bool(known)

    def iter(self, obj: fx.Proxy) -> Iterator[fx.Proxy]:
        return (cast(Any, obj)[i] for i in range(len(self.known(obj))))

    def known(self, obj: fx.Proxy) -> Any:
        """A node's value, if shapes alone determine it; otherwise raises torch's error."""
        asked = obj.node
        with torch.no_grad(), _maybe_revert_all_patches():  # so that calls add no nodes
            for node in self.graph.nodes:
                if node not in self.shapes:
                    self.shapes[node] = self._without_values(node)
        return self.shapes[asked]

    def _without_values(self, n: fx.Node) -> Any:
        target: Any = n.target
        args: Any = fx.node.map_arg(n.args, self.shapes.__getitem__)
        kwargs: Any = fx.node.map_arg(n.kwargs, self.shapes.__getitem__)
        if n.op == "placeholder":
            return args[0] if args else torch.empty(self.input_shape, device="meta")
        if n.op == "get_attr":
            return _shape(attrgetter(target)(self.root))
        if n.op == "call_module":
            module = self.root.get_submodule(target)
            state = [*module.named_parameters(), *module.named_buffers()]
            return functional_call(module, {k: _shape(v) for k, v in state}, args, kwargs)
        if n.op == "call_method":
            return getattr(args[0], target)(*args[1:], **kwargs)
        return target(*args, **kwargs)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, LAYERS) or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        self.inside.append(self.path_of_module(m))
        result = super().call_module(m, forward, args, kwargs)
        self.inside.pop()
        return result


class _Proxy(fx.Proxy):
    """A node's proxy that also supports `len`."""

    def __len__(self) -> int:
        return len(cast(_Tracer, self.tracer).known(self))

    def __getattr__(self, k: str) -> _Attribute:
        return _Attribute(self, k)


class _Attribute(_Proxy, Attribute):
    pass


def _shape(tensor: Tensor) -> Tensor:
    return tensor.detach().to("meta")


def trace(model: nn.Module, input_shape: tuple[int, ...]) -> fx.GraphModule:
    """The model as a graph in which every Conv and Linear is a node.

    `input_shape`, number of images included, decides control flow that depends on shapes. Unused
    layers, such as those for training only, are no nodes. Raises Mismatch naming the module that
    torch.fx cannot trace, or that is used without being called.
    """
    tracer = _Tracer(input_shape)
    try:
        graph = fx.GraphModule(model, tracer.trace(model))
    except Exception as error:  # other people's forward: it may raise anything
        raise_shortage(error)
        where = repr(tracer.inside[-1]) if tracer.inside else "the forward"
        why = str(error).partition("\n")[0]
        raise Mismatch(
            f"torch.fx cannot trace {where} of {type(model).__name__} ({why}); {NEED_GRAPH}"
        ) from None
    _refuse_hidden_layers(model, graph)
    return graph


def _refuse_hidden_layers(model: nn.Module, graph: fx.GraphModule) -> None:
    """Raise Mismatch naming a layer that is used without being called."""
    called = {node.target for node in graph.graph.nodes if is_layer(graph, node)}
    used = {str(node.target) for node in graph.graph.nodes if node.op == "get_attr"}
    whole = {str(node.target) for node in graph.graph.nodes if node.op == "call_module"}
    for name, module in model.named_modules(remove_duplicate=True):
        if not isinstance(module, LAYERS) or name in called:
            continue
        own = {f"{name}.{of}".lstrip(".") for of, _ in module.named_parameters()}
        if own & used or any(name.startswith(f"{outer}.") for outer in whole):
            raise Mismatch(
                f"{name or 'the whole'!r} of {type(model).__name__} is not called as a module, "
                f"so its place in the network is unknown; {NEED_GRAPH}"
            )
    if odd := [name for name in prunable(model) if not _of_layer(model, name)]:
        raise Mismatch(f"{some(odd)} are not weights of Conv or Linear; {NEED_GRAPH}")


def _of_layer(model: nn.Module, name: str) -> bool:
    return isinstance(model.get_submodule(name.rpartition(".")[0]), LAYERS)


def is_activation(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a node is an activation: a module, a function or a method."""
    return word(graph, node) in ACTIVATIONS


def is_layer(graph: fx.GraphModule, node: fx.Node) -> bool:
    return node.op == "call_module" and isinstance(graph.get_submodule(str(node.target)), LAYERS)


def word(graph: fx.GraphModule, node: fx.Node) -> str:
    """The class, function or method that a node calls, in lower case, without underscores."""
    if node.op == "call_module":
        return _plain(type(graph.get_submodule(str(node.target))).__name__)
    if node.op == "call_function":
        return _plain(getattr(node.target, "__name__", ""))
    return _plain(str(node.target)) if node.op == "call_method" else ""


def _plain(name: str) -> str:
    return name.lower().replace("_", "")


def weight_names(graph: fx.GraphModule, model: nn.Module) -> dict[fx.Node, str]:
    """The weight's name for every call of a layer; for a shared one the first, as in masks."""
    first = {weight: name for name, weight in prunable(model).items()}
    names = {}
    for node in graph.graph.nodes:
        if is_layer(graph, node):
            weight = cast(Tensor, graph.get_submodule(str(node.target)).weight)
            names[node] = first.get(weight, f"{node.target}.weight")
    return names


def one_layout(graph: fx.GraphModule, weights: dict[fx.Node, str]) -> None:
    """Raise Mismatch for a weight whose rows are outputs in one layer, inputs in another."""
    layouts: dict[str, tuple[bool, int]] = {}
    for node, name in weights.items():
        module = graph.get_submodule(str(node.target))
        layout = isinstance(module, _ConvTransposeNd), int(getattr(module, "groups", 1))
        if layouts.setdefault(name, layout) != layout:
            raise Mismatch(
                f"{name!r} is shared by {str(node.target)!r}, which orders its channels "
                f"differently, so a sum over both is impossible; {NEED_SUM}"
            )


def channel_axis(module: nn.Module) -> int:
    """The channel axis of the input and output of a Conv or Linear."""
    return -1 if isinstance(module, nn.Linear) else 1


def grouped(module: nn.Module, weight: Tensor) -> Tensor:
    """A layer's weight, or anything of its shape, as [groups, outputs, inputs, kernel].

    Outputs and inputs are counted within a group. After a reduction over the other axes,
    `flatten(0, 1)` gives the layer's channels in order.
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
