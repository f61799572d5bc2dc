"""The deep residual networks of He et al. for small images: four stages, 1x1 shortcuts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from torch import Tensor, nn

from prunecli.models._thin import thinner

WIDTHS = (64, 128, 256, 512)


class BlockClass(Protocol):
    """Makes a block with `channels` inputs and `expansion` times `width` outputs."""

    expansion: int

    def __call__(self, channels: int, width: int, stride: int) -> nn.Module: ...


class StagedResNet(nn.Module):
    """A stem of one 3x3 convolution without pooling, four stages of blocks, a linear layer.

    Source: He et al., Deep Residual Learning, CVPR 2016, table 1 (with the usual stem for CIFAR)
    """

    def __init__(
        self,
        input_shape: tuple[int, int, int],
        classes: int,
        block: BlockClass,
        counts: Iterable[int],
        thin: float,
    ) -> None:
        super().__init__()
        thinned = thinner(thin)
        channels = thinned(64)
        blocks: list[nn.Module] = []
        self.conv = nn.Conv2d(input_shape[0], channels, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        for width, count in zip(map(thinned, WIDTHS), counts, strict=True):
            for number in range(count):
                stride = 2 if blocks and number == 0 else 1  # where a later stage begins
                blocks.append(block(channels, width, stride))
                channels = block.expansion * width
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.relu(self.bn(self.conv(x))))
        logits: Tensor = self.fc(self.flatten(self.pool(x)))
        return logits


def projection(channels: int, out: int, stride: int = 1) -> nn.Sequential:
    """A shortcut: a 1x1 convolution if the shape changes (option B), else the identity."""
    if stride == 1 and channels == out:
        return nn.Sequential()
    return nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))
