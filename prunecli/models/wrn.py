from __future__ import annotations

from torch import Tensor, nn

from prunecli.errors import BadUsage
from prunecli.models._thin import thinner


def wrn(
    input_shape: tuple[int, int, int],
    classes: int,
    *,
    depth: int = 16,
    widen: float = 8.0,
    dropout: float = 0.0,
    thin: float = 1.0,
) -> nn.Module:
    """Wide residual network: 6n+4 layers, three stages of 16, 32 and 64 channels times `widen`.

    WRN-16-8 (depth 16, widen 8) has 11.0 M parameters with 100 classes. `dropout` acts between the
    two convolutions of a block. `thin`: floor(sqrt(thin) C) channels in place of C.

    Source: Zagoruyko & Komodakis, Wide Residual Networks, BMVC 2016, table 1
    """
    if depth < 10 or (depth - 4) % 6:
        raise BadUsage(f"depth={depth}: it must be 10, 16, 22, 28, ...: 6n + 4")
    if not widen > 0:
        raise BadUsage(f"widen={widen:g}: it must be above 0")
    if not 0 <= dropout < 1:
        raise BadUsage(f"dropout={dropout:g}: it must be from 0 to below 1")
    return WRN(input_shape, classes, (depth - 4) // 6, widen, dropout, thin)


class Block(nn.Module):
    """Two 3x3 convolutions, each after normalisation and ReLU, around a shortcut.

    Where the shape changes, the shortcut is a 1x1 convolution of what has been normalised.
    """

    def __init__(self, channels: int, width: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.shortcut: nn.Module | None = None
        if stride > 1 or channels != width:
            self.shortcut = nn.Conv2d(channels, width, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu1(self.bn1(x))
        if self.shortcut is not None:
            x = self.shortcut(out)
        out = self.conv2(self.dropout(self.relu2(self.bn2(self.conv1(out)))))
        result: Tensor = out + x
        return result


class WRN(nn.Module):
    def __init__(
        self,
        input_shape: tuple[int, int, int],
        classes: int,
        blocks: int,
        widen: float,
        dropout: float,
        thin: float,
    ) -> None:
        super().__init__()
        thinned = thinner(thin)
        channels, layers = thinned(16), []
        self.conv = nn.Conv2d(input_shape[0], channels, 3, padding=1, bias=False)
        for full, stride in ((16, 1), (32, 2), (64, 2)):
            width = thinned(round(full * widen))
            for number in range(blocks):
                layers.append(Block(channels, width, 1 if number else stride, dropout))
                channels = width
        self.blocks = nn.Sequential(*layers)
        self.bn = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn(self.blocks(self.conv(x))))
        logits: Tensor = self.fc(self.flatten(self.pool(x)))
        return logits
