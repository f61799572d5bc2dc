from __future__ import annotations

from collections import OrderedDict

from torch import nn

from prunecli.errors import Mismatch
from prunecli.models._thin import thinner


def cnn(input_shape: tuple[int, int, int], classes: int, *, thin: float = 1.0) -> nn.Module:
    """Two 5x5 convolutions and two linear layers; 431,080 parameters on 28x28 grey images.

    `thin`: floor(sqrt(thin) C) channels in place of C.

    Source: foresight thesis, Table 4.1 (LeNet-5 in the Caffe version)
    """
    channels, height, width = input_shape
    if min(height, width) < 16:
        raise Mismatch(f"cnn needs images of 16x16 pixels or more, not {height}x{width}")
    rows, columns = (((side - 4) // 2 - 4) // 2 for side in (height, width))
    one, two, hidden = map(thinner(thin), (20, 50, 500))
    layers: list[tuple[str, nn.Module]] = [
        ("conv1", nn.Conv2d(channels, one, 5)),
        ("relu1", nn.ReLU()),
        ("pool1", nn.MaxPool2d(2)),
        ("conv2", nn.Conv2d(one, two, 5)),
        ("relu2", nn.ReLU()),
        ("pool2", nn.MaxPool2d(2)),
        ("flatten", nn.Flatten()),
        ("fc1", nn.Linear(two * rows * columns, hidden)),
        ("relu3", nn.ReLU()),
        ("fc2", nn.Linear(hidden, classes)),
    ]
    return nn.Sequential(OrderedDict(layers))
