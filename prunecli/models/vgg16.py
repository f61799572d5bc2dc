from __future__ import annotations

from collections import OrderedDict

from torch import nn

from prunecli.models._thin import thinner

WIDTHS = [64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0]


def vgg16(input_shape: tuple[int, int, int], classes: int, *, thin: float = 1.0) -> nn.Module:
    """VGG-16 for small images: 13 convolutions with batch normalisation and one linear layer.

    14.7 M parameters with 10 classes. Pooling rounds up, so any image size works; on 32x32 that
    makes no difference. `thin`: floor(sqrt(thin) C) channels in place of C.

    Source: Simonyan & Zisserman, ICLR 2015, configuration D; with the usual classifier for CIFAR
    """
    thinned = thinner(thin)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    channels, conv = input_shape[0], 0
    for width in WIDTHS:
        if width == 0:
            layers[f"pool{conv}"] = nn.MaxPool2d(2, ceil_mode=True)
            continue
        width, conv = thinned(width), conv + 1
        layers[f"conv{conv}"] = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        layers[f"bn{conv}"] = nn.BatchNorm2d(width)
        layers[f"relu{conv}"] = nn.ReLU(inplace=True)
        channels = width
    layers["pool"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["fc"] = nn.Linear(channels, classes)
    return nn.Sequential(layers)
