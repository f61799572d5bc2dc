"""The dense equivalent of a network that somebody else has written."""

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
"""The layers that can be made anew with fewer channels."""


class Width(NamedTuple):
    """The channels that a layer takes and gives, and the groups that they are in."""

    inputs: int
    outputs: int
    groups: int = 1


def thinned(
    made: Callable[[], nn.Module], label: str, input_shape: tuple[int, int, int], thin: float
) -> nn.Module:
    """The network that `made` makes, with floor(sqrt(thin) C) channels in place of C.

    A layer takes what really arrives there, be it the image's channels or those of several layers
    side by side. A depthwise convolution stays one. The last layer gives as many classes as before.
    Weights are drawn by the network's own rules.

    Raises BadUsage for a network that has weights in other layers than `LAYERS`, or whose groups or
    shapes do not go with so few channels; Mismatch for one that does not take such images.

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
    """The widths by the layers' places in the order in which they are made.

    Those that arrive are known once the layers before have theirs.
    """
    layers: list[nn.Module] = []
    failing = f"model {label!r}: it cannot be thinned so far"
    with theirs(failing, BadUsage), _each_layer(lambda _, layer: layers.append(layer)):
        network = made().eval()
    others = {type(m).__name__ for m in network.modules() if m._parameters and m not in layers}
    if others:
        raise BadUsage(f"model {label!r}: it cannot be thinned, for it has {some(sorted(others))}")
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
    """Give the network an image; `before` is told each layer's place, and what arrives there."""

    def tell(place: int, layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        before(place, given[0])

    hooks = [
        layer.register_forward_pre_hook(partial(tell, place)) for place, layer in enumerate(layers)
    ]
    network(image)
    for hook in hooks:
        hook.remove()


def _width(layer: nn.Module, x: Tensor, fewer: Callable[[int], int], *, last: bool) -> Width:
    """The width of a layer that this arrives at. Raises BadUsage where its groups do not fit."""
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
            f"a convolution of {groups} groups cannot be thinned to {inputs} channels that it "
            f"takes and {outputs} that it gives; they must be multiples of {groups}"
        )
    return Width(inputs, outputs, groups)


def _narrow(layer: nn.Module, width: Width | None) -> None:
    """Make a layer's parameters anew, of that width and drawn as the layer itself does."""
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
    """Tell `see` of each layer once it is made, before its network draws weights for it."""
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
