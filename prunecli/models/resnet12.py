from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from prunecli.errors import Mismatch
from prunecli.models._thin import thinner

WIDTHS = (64, 160, 320, 640)
SLOPE = 0.1


def resnet12(input_shape: tuple[int, int, int], classes: int, *, thin: float = 1.0) -> nn.Module:
    """ResNet-12 as in few-shot learning; 12.4 M parameters with 10 classes.

    Four blocks of three 3x3 convolutions with 64, 160, 320 and 640 channels, each halved by max
    pooling, around a 1x1 shortcut; leaky ReLU of slope 0.1. Without the paper's DropBlock, and with
    a linear layer after global average pooling. `thin`: floor(sqrt(thin) C) channels in place of C.

    Source: Lee et al., Meta-Learning with Differentiable Convex Optimization, CVPR 2019, section
    4.1 (R64-R160-R320-R640)
    """
    _, height, width = input_shape
    if min(height, width) < 16:
        raise Mismatch(f"resnet12 needs images of 16x16 pixels or more, not {height}x{width}")
    return ResNet12(input_shape, classes, thin)


class Block(nn.Module):
    """Three 3x3 convolutions around a shortcut, then 2x2 max pooling."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.LeakyReLU(SLOPE, inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.LeakyReLU(SLOPE, inplace=True)
        self.conv3 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.shortcut = nn.Sequential(
            nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width)
        )
        self.relu3 = nn.LeakyReLU(SLOPE, inplace=True)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu1(self.bn1(self.conv1(x)))
        out = self.bn3(self.conv3(self.relu2(self.bn2(self.conv2(out)))))
        result: Tensor = self.pool(self.relu3(out + self.shortcut(x)))
        return result


class ResNet12(nn.Module):
    def __init__(self, input_shape: tuple[int, int, int], classes: int, thin: float) -> None:
        super().__init__()
        widths = [input_shape[0], *map(thinner(thin), WIDTHS)]
        pairs = pairwise(widths)
        self.blocks = nn.Sequential(*(Block(channels, width) for channels, width in pairs))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.flatten(self.pool(self.blocks(x))))
        return logits
