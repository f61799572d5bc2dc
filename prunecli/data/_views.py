"""Views: the square of an image that a network sees."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from PIL import Image

Box = tuple[int, int, int, int]
"""Left, top, right and bottom, in pixels, as in Pillow."""

AREA = (0.08, 1.0)
"""The range of a random crop's area, as a share of the image."""
RATIO = (3 / 4, 4 / 3)
"""The range of its width / height."""
TRIES = 10


@dataclass(frozen=True)
class View:
    """A square of `size` pixels a side."""

    size: int
    resize: int | None = None
    """The length that the shorter side is scaled to before the centre crop; None for `size`."""
    crop: bool = False
    """Whether training sees random crops instead of the centre."""

    @property
    def scaling(self) -> str:
        """A text that identifies how the centre crop is made."""
        return str(self.size) if self.resize is None else f"{self.size} of {self.resize}"

    @property
    def told(self) -> list[str]:
        """Texts that identify the view's effect on pixels, apart from the size."""
        return [self.scaling] * (self.resize is not None) + ["random crops"] * self.crop

    def pixels(self, sides: tuple[int, int]) -> int:
        """The pixels of an image of these sides, before or after scaling, whichever is more."""
        scaled = sides if self.resize is None else _scaled(sides, self.resize)
        return max(math.prod(sides), math.prod(scaled))

    def middle(self, image: Image.Image) -> Image.Image:
        """The centre of the image, scaled by its shorter side.

        With `resize` it equals torchvision's presets bit by bit.
        """
        if self.resize is None:
            return _square(image, self.size)
        image = image.resize(_scaled(image.size, self.resize), Image.Resampling.BILINEAR)
        # Python's round, as in torchvision: halves to even.
        left, top = (round((side - self.size) / 2) for side in image.size)
        return image.crop((left, top, left + self.size, top + self.size))

    def part(self, image: Image.Image, draw: int) -> Image.Image:
        """The random crop that `draw` decides, scaled to `size`."""
        part = image.crop(random_box(image.size, draw))
        return part.resize((self.size, self.size), Image.Resampling.BILINEAR)


def random_box(sides: tuple[int, int], draw: int) -> Box:
    """The box of a random crop of an image with these sides, width and height.

    The area and the logarithm of the ratio are drawn uniformly until the box fits. After ten tries,
    it is the largest centred box with an allowed ratio.

    Source: Szegedy et al., Going Deeper with Convolutions, 2015, section 6; torchvision's
    `RandomResizedCrop`
    """
    width, height = sides
    numbers = torch.rand(
        TRIES, 4, generator=torch.Generator().manual_seed(draw), dtype=torch.float64
    )
    low, high = map(math.log, RATIO)
    for share, stretch, x, y in numbers.tolist():
        area = width * height * (AREA[0] + share * (AREA[1] - AREA[0]))
        ratio = math.exp(low + stretch * (high - low))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return _box(int(x * (width - w + 1)), int(y * (height - h + 1)), w, h)
    w = min(width, round(height * RATIO[1]))
    h = min(height, round(width / RATIO[0]))
    return _box((width - w) // 2, (height - h) // 2, w, h)


def _box(left: int, top: int, width: int, height: int) -> Box:
    return left, top, left + width, top + height


def _scaled(sides: tuple[int, int], shorter: int) -> tuple[int, int]:
    """Width and height after scaling the shorter side; the longer is rounded down."""
    least = min(sides)
    width, height = (shorter if side == least else int(shorter * side / least) for side in sides)
    return width, height


def _square(image: Image.Image, size: int) -> Image.Image:
    """The centre of the image, with its shorter side scaled to `size`; only that part is scaled."""
    if image.size == (size, size):
        return image
    scale = size / min(image.size)
    spans = [_middle(side, max(size, round(side * scale)), size) for side in image.size]
    (left, right), (top, bottom) = spans
    return image.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, right, bottom))


def _middle(side: int, scaled: int, size: int) -> tuple[float, float]:
    """Start and end, in the original side, of the centre of the scaled one."""
    start = (scaled - size) // 2
    return start * side / scaled, (start + size) * side / scaled
