"""The dense equivalent of any network: the same one with fewer channels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_module_registration_hook

from prunecli.errors import BadUsage, some
from prunecli.models._thin import thinner
from prunecli.network.modules import theirs

LAYERS = (nn.Conv2d, nn.Linear, nn.BatchNorm2d)
"""The layers that can be narrowed."""


class Width(NamedTuple):
    """A layer's input channels, output channels and groups."""

    inputs: int
    outputs: int
    groups: int = 1


def thinned(
    made: Callable[[], nn.Module], label: str, input_shape: tuple[int, int, int], thin: float
) -> nn.Module:
    """The network that `made` makes, with floor(sqrt(thin) C) channels in place of C.

    A layer's input channels are those that really arrive: the image's, or those of several
    concatenated layers. A depthwise convolution stays depthwise. The last layer keeps its classes.
    Weights are initialised by the network's own rules.

    Raises BadUsage for a network that has weights in layers other than `LAYERS`, or whose groups or
    shapes do not allow so few channels; Mismatch for one that does not accept such images.

    Source: adaptive sparsity loss, eq. 12
    """
    fewer = thinner(thin)
    if thin == 1:
        return made()
    with torch.device("meta"):
        widths = _widths(made, label, torch.zeros(1, *input_shape), fewer)
    with _each_layer(lambda place, layer: _narrow(layer, widths.get(place))):
        return made()


def _widths(
    made: Callable[[], nn.Module], label: str, image: Tensor, fewer: Callable[[int], int]
) -> dict[int, Width]:
    """The widths of the layers, in the order in which the network makes them.

    A layer's input width is known once the layers before it have their width.
    """
    layers: list[nn.Module] = []
    failing = f"model {label!r}: it cannot be thinned so far"
    with theirs(failing, BadUsage), _each_layer(lambda _, layer: layers.append(layer)):
        network = made().eval()
    others = {type(m).__name__ for m in network.modules() if m._parameters and m not in layers}
    if others:
        raise BadUsage(
            f"model {label!r}: it cannot be thinned because it has {some(sorted(others))}"
        )
    found: dict[int, Width] = {}
    order: list[int] = []
    size = "x".join(map(str, image.shape[1:]))
    with theirs(f"model {label!r}: it does not take {size} images"), torch.no_grad():
        _run(network, layers, image, lambda place, x: order.append(place))

    def narrow(place: int, x: Tensor) -> None:
        if place not in found:
            found[place] = _width(layers[place], x, fewer, last=place == order[-1])
            _narrow(layers[place], found[place])

    with theirs(failing, BadUsage), torch.no_grad():
        _run(network, layers, image, narrow)
    return found


def _run(
    network: nn.Module,
    layers: list[nn.Module],
    image: Tensor,
    before: Callable[[int, Tensor], None],
) -> None:
    """Run the network on an image; `before` gets each layer's index and input."""

    def tell(place: int, layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        before(place, given[0])

    hooks = [
        layer.register_forward_pre_hook(partial(tell, place)) for place, layer in enumerate(layers)
    ]
    network(image)
    for hook in hooks:
        hook.remove()


def _width(layer: nn.Module, x: Tensor, fewer: Callable[[int], int], *, last: bool) -> Width:
    """The width of a layer with this input. Raises BadUsage if its groups do not fit."""
    if isinstance(layer, nn.Linear):
        full = layer.out_features
        return Width(x.shape[-1], full if last else fewer(full))
    inputs = x.shape[1]
    if not isinstance(layer, nn.Conv2d):
        return Width(inputs, inputs)
    full, groups = layer.out_channels, layer.groups
    if 1 < groups == layer.in_channels:
        return Width(inputs, inputs * (full // groups), inputs)
    outputs = full if last else fewer(full)
    if inputs % groups or outputs % groups:
        raise BadUsage(
            f"a convolution of {groups} groups cannot be thinned to {inputs} input and "
            f"{outputs} output channels; both must be multiples of {groups}"
        )
    return Width(inputs, outputs, groups)


def _narrow(layer: nn.Module, width: Width | None) -> None:
    """Replace a layer's parameters by ones of that width, initialised by the layer itself."""
    if width is None:
        return
    shapes: dict[str, tuple[int, ...]] = {}
    if isinstance(layer, nn.Conv2d):
        layer.in_channels, layer.out_channels, layer.groups = width
        shapes["weight"] = (width.outputs, width.inputs // width.groups, *layer.kernel_size)
    elif isinstance(layer, nn.Linear):
        layer.in_features, layer.out_features, _ = width
        shapes["weight"] = (width.outputs, width.inputs)
    elif isinstance(layer, nn.BatchNorm2d):
        layer.num_features = width.outputs
    for name, tensor in [*layer.named_parameters(), *layer.named_buffers()]:
        if tensor.ndim:
            narrow = tensor.new_empty(shapes.get(name, (width.outputs,)))
            is_parameter = isinstance(tensor, nn.Parameter)
            setattr(layer, name, nn.Parameter(narrow) if is_parameter else narrow)
    layer.reset_parameters()  # type: ignore[operator]


@contextmanager
def _each_layer(see: Callable[[int, nn.Module], None]) -> Iterator[None]:
    """Call `see` on each layer once it is made, before its network initialises it."""
    seen: list[nn.Module] = []

    def tell(parent: nn.Module, name: str, module: Any) -> None:
        if isinstance(module, LAYERS) and module not in seen:
            see(len(seen), module)
            seen.append(module)

    hook = register_module_module_registration_hook(tell)
    try:
        yield
    finally:
        hook.remove()
