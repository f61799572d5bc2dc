from __future__ import annotations

from typing import Literal

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
    like: Literal["zagoruyko", "retsinas"] = "zagoruyko",
    init: Literal["uniform", "normal"] = "uniform",
    thin: float = 1.0,
) -> nn.Module:
    """Wide residual network: 6n+4 layers, three stages of 16, 32 and 64 channels times `widen`.

    WRN-16-8 (depth 16, widen 8) has 11.0 M parameters with 100 classes (11,007,540). `dropout` acts
    between the two convolutions of a block. `like=retsinas` is the network of the authors of
    adaptive sparsity: its convolutions have biases (11,012,036 parameters), the second convolution
    of a block has the stride, and the shortcut takes the block's raw input. `init=uniform` draws
    weights as torch does by default, like those authors; `normal` draws them from He's normal
    distribution, with biases of 0, like Zagoruyko & Komodakis. `thin`: floor(sqrt(thin) C) channels
    in place of C.

    Source: Zagoruyko & Komodakis, Wide Residual Networks, BMVC 2016, table 1; Retsinas et al.,
    Weight Pruning via Adaptive Sparsity Loss, arXiv 2006.02768, and its code
    """
    if depth < 10 or (depth - 4) % 6:
        raise BadUsage(f"depth={depth}: it must be 10, 16, 22, 28, ...: 6n + 4")
    if not widen > 0:
        raise BadUsage(f"widen={widen:g}: it must be above 0")
    if not 0 <= dropout < 1:
        raise BadUsage(f"dropout={dropout:g}: it must be from 0 to below 1")
    block = RawBlock if like == "retsinas" else Block
    network = WRN(input_shape, classes, (depth - 4) // 6, widen, dropout, thin, block)
    if init == "normal":
        network.apply(_normal)
    return network


def _normal(module: nn.Module) -> None:
    """Draw a layer's weights from N(0, 2 / inputs), with biases of 0.

    Source: He et al., Delving Deep into Rectifiers, ICCV 2015, eq. 10
    """
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class Block(nn.Module):
    """Two 3x3 convolutions, each after normalisation and ReLU, around a shortcut.

    Where the shape changes, the shortcut is a 1x1 convolution of the normalised input.
    """

    biased, second_strides = False, False

    def __init__(self, channels: int, width: int, stride: int, dropout: float) -> None:
        super().__init__()
        first, second = (1, stride) if self.second_strides else (stride, 1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(channels, width, 3, first, padding=1, bias=self.biased)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(width, width, 3, second, padding=1, bias=self.biased)
        self.shortcut: nn.Module | None = None
        if stride > 1 or channels != width:
            self.shortcut = nn.Conv2d(channels, width, 1, stride, bias=self.biased)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu1(self.bn1(x))
        if self.shortcut is not None:
            x = self.shortcut(out)
        out = self.conv2(self.dropout(self.relu2(self.bn2(self.conv1(out)))))
        result: Tensor = out + x
        return result


class RawBlock(Block):
    """The same with biases, a shortcut of the raw input, and a stride in the second convolution."""

    biased, second_strides = True, True

    def forward(self, x: Tensor) -> Tensor:
        out = self.dropout(self.conv1(self.relu1(self.bn1(x))))
        out = self.conv2(self.relu2(self.bn2(out)))
        result: Tensor = out + (x if self.shortcut is None else self.shortcut(x))
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
        block: type[Block],
    ) -> None:
        super().__init__()
        thinned = thinner(thin)
        channels, layers = thinned(16), []
        self.conv = nn.Conv2d(input_shape[0], channels, 3, padding=1, bias=block.biased)
        for full, stride in ((16, 1), (32, 2), (64, 2)):
            width = thinned(round(full * widen))
            for number in range(blocks):
                layers.append(block(channels, width, 1 if number else stride, dropout))
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
