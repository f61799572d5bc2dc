from __future__ import annotations

from torch import Tensor, nn

from prunecli.models._staged import StagedResNet, projection


def resnet50(input_shape: tuple[int, int, int], classes: int, *, thin: float = 1.0) -> nn.Module:
    """ResNet-50 for small images: a stem of one 3x3 convolution without pooling.

    23.5 M parameters with 10 classes. Shortcuts that change shape are 1x1 convolutions. `thin`:
    floor(sqrt(thin) C) channels in place of C.

    Source: He et al., Deep Residual Learning, CVPR 2016, table 1 (with the usual stem for CIFAR)
    """
    return StagedResNet(input_shape, classes, Bottleneck, (3, 4, 6, 3), thin)


class Bottleneck(nn.Module):
    """1x1 to narrow, 3x3, 1x1 to widen, around a shortcut."""

    expansion = 4

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        out = self.expansion * width
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv3 = nn.Conv2d(width, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.relu3 = nn.ReLU(inplace=True)
        self.shortcut = projection(channels, out, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu1(self.bn1(self.conv1(x)))
        out = self.bn3(self.conv3(self.relu2(self.bn2(self.conv2(out)))))
        result: Tensor = self.relu3(out + self.shortcut(x))
        return result
