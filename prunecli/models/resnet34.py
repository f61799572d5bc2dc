from __future__ import annotations

from torch import Tensor, nn

from prunecli.models._staged import StagedResNet, projection


def resnet34(input_shape: tuple[int, int, int], classes: int, *, thin: float = 1.0) -> nn.Module:
    """ResNet-34 for small images: a stem of one 3x3 convolution without pooling.

    21.3 M parameters with 10 classes. Shortcuts that change shape are 1x1 convolutions. `thin`:
    floor(sqrt(thin) C) channels in place of C.

    Source: He et al., Deep Residual Learning, CVPR 2016, table 1 (with the usual stem for CIFAR)
    """
    return StagedResNet(input_shape, classes, BasicBlock, (3, 4, 6, 3), thin)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    expansion = 1

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU(inplace=True)
        self.shortcut = projection(channels, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        result: Tensor = self.relu2(out + self.shortcut(x))
        return result
