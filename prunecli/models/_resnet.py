"""The residual networks of He et al. for 32x32 images."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from prunecli.models._thin import thinner


class Block(nn.Module):
    """Two 3x3 convolutions around an identity, padded with zero channels if wider (option A)."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU(inplace=True)
        self.stride, self.extra = stride, width - channels

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        if self.extra:
            x = x[:, :, :: self.stride, :: self.stride]
            x = F.pad(x, (0, 0, 0, 0, self.extra // 2, self.extra - self.extra // 2))
        result: Tensor = self.relu2(out + x)
        return result


class ResNet(nn.Module):
    """6n+2 layers: a convolution, three stages of n blocks (16, 32, 64 channels), a linear layer.

    Source: He et al., Deep Residual Learning, CVPR 2016, section 4.2
    """

    def __init__(
        self, input_shape: tuple[int, int, int], classes: int, blocks: int, thin: float
    ) -> None:
        super().__init__()
        one, two, three = map(thinner(thin), (16, 32, 64))
        self.conv = nn.Conv2d(input_shape[0], one, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(one)
        self.relu = nn.ReLU(inplace=True)
        self.stage1 = _stage(one, one, 1, blocks)
        self.stage2 = _stage(one, two, 2, blocks)
        self.stage3 = _stage(two, three, 2, blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(three, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn(self.conv(x)))
        x = self.stage3(self.stage2(self.stage1(x)))
        logits: Tensor = self.fc(self.flatten(self.pool(x)))
        return logits


def _stage(channels: int, width: int, stride: int, blocks: int) -> nn.Sequential:
    first = Block(channels, width, stride)
    return nn.Sequential(first, *(Block(width, width, 1) for _ in range(blocks - 1)))
