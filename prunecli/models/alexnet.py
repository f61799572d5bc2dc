from __future__ import annotations

from collections import OrderedDict

from torch import nn

from prunecli.models._thin import thinner

# Channels and whether a pooling follows.
CONVOLUTIONS = [(64, True), (192, True), (384, False), (256, False), (256, True)]
HIDDEN = 4096


def alexnet(input_shape: tuple[int, int, int], classes: int, *, thin: float = 1.0) -> nn.Module:
    """AlexNet for small images: five 3x3 convolutions and three linear layers.

    23.3 M parameters with 10 classes on 32x32 images. Batch normalisation after the convolutions
    replaces local response normalisation; dropout precedes all linear layers but the last. `thin`:
    floor(sqrt(thin) C) channels in place of C.

    Source: Krizhevsky, Sutskever & Hinton, NIPS 2012; kernels and strides scaled to 32x32
    """
    thinned = thinner(thin)
    hidden = thinned(HIDDEN)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    channels = input_shape[0]
    for number, (full, pooled) in enumerate(CONVOLUTIONS, 1):
        width, stride = thinned(full), 2 if number == 1 else 1
        layers[f"conv{number}"] = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        layers[f"bn{number}"] = nn.BatchNorm2d(width)
        layers[f"relu{number}"] = nn.ReLU(inplace=True)
        if pooled:
            layers[f"pool{number}"] = nn.MaxPool2d(2, ceil_mode=True)
        channels = width
    _, height, width = input_shape
    layers["pool"] = _halves(-(-height // 16), -(-width // 16))
    layers["flatten"] = nn.Flatten()
    layers["drop1"] = nn.Dropout()
    layers["fc1"] = nn.Linear(4 * channels, hidden)
    layers["relu6"] = nn.ReLU(inplace=True)
    layers["drop2"] = nn.Dropout()
    layers["fc2"] = nn.Linear(hidden, hidden)
    layers["relu7"] = nn.ReLU(inplace=True)
    layers["fc3"] = nn.Linear(hidden, classes)
    return nn.Sequential(layers)


def _halves(height: int, width: int) -> nn.Module:
    """A module that averages each quarter of a map; both halves contain the middle of an odd side.

    It equals `AdaptiveAvgPool2d(2)`, whose gradient on a GPU differs from run to run.
    """
    if min(height, width) < 2:
        return nn.AdaptiveAvgPool2d(2)
    return nn.AvgPool2d((-(-height // 2), -(-width // 2)), (height // 2, width // 2))
