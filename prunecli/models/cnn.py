from __future__ import annotations

from collections import OrderedDict

from torch import nn


def cnn(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Two 5x5 convolutions and two linear layers; 431,080 parameters on 28x28 grey images.

    Source: foresight thesis, Table 4.1 (LeNet-5 in the Caffe version)
    """
    channels, height, width = input_shape
    features = 50 * (((height - 4) // 2 - 4) // 2) * (((width - 4) // 2 - 4) // 2)
    layers: list[tuple[str, nn.Module]] = [
        ("conv1", nn.Conv2d(channels, 20, 5)),
        ("relu1", nn.ReLU()),
        ("pool1", nn.MaxPool2d(2)),
        ("conv2", nn.Conv2d(20, 50, 5)),
        ("relu2", nn.ReLU()),
        ("pool2", nn.MaxPool2d(2)),
        ("flatten", nn.Flatten()),
        ("fc1", nn.Linear(features, 500)),
        ("relu3", nn.ReLU()),
        ("fc2", nn.Linear(500, classes)),
    ]
    return nn.Sequential(OrderedDict(layers))
