from __future__ import annotations

from torch import Tensor, nn

from prunecli.models._thin import thinner

STAGES = [(64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)]  # width, blocks, stride of the first
EXPANSION = 4


def resnet50(input_shape: tuple[int, int, int], classes: int, *, thin: float = 1.0) -> nn.Module:
    """ResNet-50 for small images: a 3x3 convolution for a stem, no pooling before the blocks.

    23.5 M parameters with 10 classes. Shortcuts that change shape are 1x1 convolutions. `thin`:
    floor(sqrt(thin) C) channels in place of C.

    Source: He et al., Deep Residual Learning, CVPR 2016, table 1 (the stem as usual for CIFAR)
    """
    return ResNet50(input_shape, classes, thin)


class Bottleneck(nn.Module):
    """1x1 to narrow, 3x3, 1x1 to widen, around a shortcut."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        out = EXPANSION * width
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv3 = nn.Conv2d(width, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.relu3 = nn.ReLU(inplace=True)
        self.shortcut = nn.Sequential()
        if stride > 1 or channels != out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu1(self.bn1(self.conv1(x)))
        out = self.bn3(self.conv3(self.relu2(self.bn2(self.conv2(out)))))
        result: Tensor = self.relu3(out + self.shortcut(x))
        return result


class ResNet50(nn.Module):
    def __init__(self, input_shape: tuple[int, int, int], classes: int, thin: float) -> None:
        super().__init__()
        thinned = thinner(thin)
        channels, blocks = thinned(64), []
        self.conv = nn.Conv2d(input_shape[0], channels, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        for full, count, stride in STAGES:
            width = thinned(full)
            for number in range(count):
                blocks.append(Bottleneck(channels, width, 1 if number else stride))
                channels = EXPANSION * width
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.relu(self.bn(self.conv(x))))
        logits: Tensor = self.fc(self.flatten(self.pool(x)))
        return logits
