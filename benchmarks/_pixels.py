"""Images of random pixels, of the shapes of CIFAR-10 and MNIST; also as data sets for commands.

What they show does not matter to how long anything takes.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch

from prunecli.types import Images

NAMES = [str(label) for label in range(10)]
CIFAR: dict[str, Any] = {"side": 32, "channels": 3, "count": 50_000, "pad": 4, "flip": True}
MNIST: dict[str, Any] = {"side": 28, "channels": 1, "count": 60_000}


@cache
def images(side: int, channels: int, count: int, pad: int = 0, flip: bool = False) -> Images:
    draw = torch.Generator().manual_seed(0)
    shape = (count, side, side, channels)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=draw)
    labels = torch.arange(count) % len(NAMES)
    return Images(pixels, labels, NAMES, [0.5] * channels, [0.25] * channels, pad, flip)


def cifar(root: Path, split: str, download: bool = False, *, count: int = CIFAR["count"]) -> Images:
    """32x32 RGB, shifted by up to 4 pixels and mirrored."""
    return images(**CIFAR | {"count": count})


def mnist(root: Path, split: str, download: bool = False, *, count: int = MNIST["count"]) -> Images:
    """28x28 grey."""
    return images(**MNIST | {"count": count})
