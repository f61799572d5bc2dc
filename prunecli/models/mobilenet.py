from __future__ import annotations

from collections import OrderedDict

from torch import nn

from prunecli.errors import BadUsage
from prunecli.models._thin import thinner

# Channels and stride of each separable block, before the width multiplier.
BLOCKS = [
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2),
    (512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1),
]  # fmt: skip


def mobilenet(
    input_shape: tuple[int, int, int],
    classes: int,
    *,
    alpha: float = 1.0,
    depth: int = 1,
    outputs: int | None = None,
    thin: float = 1.0,
) -> nn.Module:
    """MobileNet (v1) for small images: a 3x3 convolution and 13 depthwise separable ones.

    3.2 M parameters with 10 classes. `alpha` is the width multiplier: every layer's channels times
    alpha. `depth` is the depth multiplier of the depthwise convolutions: their output maps per
    channel (6.4 M parameters at 2, 12.8 M at 4). The first convolution has stride 1, as usual for
    32x32. `outputs` is the number of outputs of the last layer, if more than the classes: with
    ImageNet's 1,000 and a depth of 4, 13.8 M parameters. Outputs beyond the data's classes are
    never the label. `thin`: floor(sqrt(thin) C) channels in place of C.

    Raises BadUsage for an alpha that leaves a layer without channels, and for fewer outputs than
    classes.

    Source: Howard et al., MobileNets, arXiv 1704.04861, table 1; Chen & Su, An Enhanced Hybrid
    MobileNet, arXiv 1712.04698 (the depth multiplier)
    """
    if not 1 / 32 <= alpha <= 16 or depth < 1:
        raise BadUsage("mobilenet needs alpha between 1/32 and 16, and depth of 1 or more")
    scores = classes if outputs is None else outputs
    if scores < classes:
        raise BadUsage(f"outputs={outputs}: it must be at least the {classes} classes of the data")
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    thinned = thinner(thin)
    channels = thinned(int(32 * alpha))
    layers["conv"] = _normalised(nn.Conv2d(input_shape[0], channels, 3, padding=1, bias=False))
    for number, (width, stride) in enumerate(BLOCKS, 1):
        out, maps = thinned(int(width * alpha)), channels * depth
        depthwise = nn.Conv2d(channels, maps, 3, stride, padding=1, groups=channels, bias=False)
        layers[f"depthwise{number}"] = _normalised(depthwise)
        layers[f"pointwise{number}"] = _normalised(nn.Conv2d(maps, out, 1, bias=False))
        channels = out
    layers["pool"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["fc"] = nn.Linear(channels, scores)
    network = MobileNet(layers)
    network.outputs = scores
    return network


class MobileNet(nn.Sequential):
    outputs: int
    """The number of outputs; see `build.check_trainable`."""


def _normalised(convolution: nn.Conv2d) -> nn.Module:
    return nn.Sequential(
        OrderedDict(
            conv=convolution,
            bn=nn.BatchNorm2d(convolution.out_channels),
            relu=nn.ReLU(inplace=True),
        )
    )
