from __future__ import annotations

import math
import operator
from collections import OrderedDict
from typing import Literal

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from prunecli.errors import BadUsage, Mismatch
from prunecli.models.alexnet import alexnet
from prunecli.models.resnet20 import resnet20
from prunecli.models.resnet50 import resnet50
from prunecli.models.resnet56 import resnet56
from prunecli.models.vgg16 import vgg16
from prunecli.network.graph import is_activation, is_layer, trace

BASES = {
    "alexnet": alexnet,
    "resnet20": resnet20,
    "resnet50": resnet50,
    "resnet56": resnet56,
    "vgg16": vgg16,
}


def n2nskip(
    input_shape: tuple[int, int, int],
    classes: int,
    *,
    base: Literal["alexnet", "resnet20", "resnet50", "resnet56", "vgg16"] = "vgg16",
    span: int = 2,
    thin: float = 1.0,
) -> nn.Module:
    """The network `base` with skip convolutions, from each activation to the one `span` further on.

        a_{l+k} = g(z_{l+k} + g(BN(C_l * a_l))),   k = span

    C_l has the kernel size of the layer that it skips, and the stride that makes its output fit.
    The weights of `base` keep their names; those of C_l are 'skipN.conv.weight'. Meant for the
    pruner `n2nskip`, which divides the weights between both. `thin` applies to the base.

    Raises BadUsage for a span that is longer than the network.

    Source: Subramaniam & Sharma, N2NSkip, BMVC 2020, eq. 3
    """
    if span < 1:
        raise BadUsage(f"span={span}: it must be 1 or more")
    traced = trace(BASES[base](input_shape, classes, thin=thin), (2, *input_shape))
    with torch.no_grad():
        ShapeProp(traced.eval()).propagate(torch.zeros(1, *input_shape))
    units = [node for node in traced.graph.nodes if is_activation(traced, node) and _maps(node)]
    if len(units) <= span:
        raise BadUsage(f"span={span}: {base} has just {len(units)} convolutional activations")
    for number, (source, target) in enumerate(zip(units, units[span:], strict=False), 1):
        _connect(traced, f"skip{number}", source, target)
    return fx.GraphModule(traced, traced.graph).train()  # with its modules in the graph's order


class Skip(nn.Sequential):
    """g(BN(C * a)): a convolution, its own normalisation, and a ReLU."""

    def __init__(
        self, channels: int, out: int, kernel: tuple[int, int], stride: tuple[int, int]
    ) -> None:
        padding = (kernel[0] // 2, kernel[1] // 2)
        convolution = nn.Conv2d(channels, out, kernel, stride, padding, bias=False)
        super().__init__(
            OrderedDict(conv=convolution, bn=nn.BatchNorm2d(out), relu=nn.ReLU(inplace=True))
        )


def _connect(traced: fx.GraphModule, name: str, source: fx.Node, target: fx.Node) -> None:
    before = target.all_input_nodes[0]
    (_, channels, *size), (_, out, *wanted) = _shape(source), _shape(before)
    kernel = _layer_before(traced, before).kernel_size
    stride = (_stride(size[0], wanted[0]), _stride(size[1], wanted[1]))
    traced.add_submodule(name, Skip(channels, out, (kernel[0], kernel[1]), stride))
    with traced.graph.inserting_before(target):
        skipped = traced.graph.call_module(name, (source,))
        joined = traced.graph.call_function(operator.add, (before, skipped))
    target.replace_input_with(before, joined)


def _stride(size: int, wanted: int) -> int:
    """The stride with which a convolution with "same" padding outputs `wanted` pixels."""
    stride = math.ceil(size / wanted)
    if math.ceil(size / stride) != wanted:
        raise Mismatch(f"no skip leads from {size} to {wanted} pixels; use images of another size")
    return stride


def _layer_before(traced: fx.GraphModule, node: fx.Node) -> nn.Conv2d:
    while not is_layer(traced, node):
        node = node.all_input_nodes[0]
    layer = traced.get_submodule(str(node.target))
    assert isinstance(layer, nn.Conv2d)
    return layer


def _shape(node: fx.Node) -> tuple[int, ...]:
    return tuple(node.meta["tensor_meta"].shape)


def _maps(node: fx.Node) -> bool:
    """Whether a node gives feature maps, not a row of numbers."""
    return len(_shape(node)) == 4
