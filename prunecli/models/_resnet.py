"""The residual networks of He et al. for 32x32 images."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class Block(nn.Module):
    """Two 3x3 convolutions around an identity; a wider block gets zero channels (option A)."""

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

    def __init__(self, input_shape: tuple[int, int, int], classes: int, blocks: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(input_shape[0], 16, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(16)
        self.relu = nn.ReLU(inplace=True)
        self.stage1 = nn.Sequential(*(Block(16, 16, 1) for _ in range(blocks)))
        self.stage2 = nn.Sequential(
            *(Block(32 if i else 16, 32, 1 if i else 2) for i in range(blocks))
        )
        self.stage3 = nn.Sequential(
            *(Block(64 if i else 32, 64, 1 if i else 2) for i in range(blocks))
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn(self.conv(x)))
        x = self.stage3(self.stage2(self.stage1(x)))
        logits: Tensor = self.fc(self.flatten(self.pool(x)))
        return logits
