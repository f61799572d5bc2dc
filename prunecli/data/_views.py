"""What a network sees of a picture: a square cut out of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from PIL import Image

Box = tuple[int, int, int, int]
"""Left, top, right and bottom, in pixels, as Pillow has them."""

AREA = (0.08, 1.0)
"""The share of a picture that a random crop takes."""
RATIO = (3 / 4, 4 / 3)
"""Its width, as a multiple of its height."""
TRIES = 10


@dataclass(frozen=True)
class View:
    """A square of `size` pixels a side."""

    size: int
    resize: int | None = None
    """What the shorter side is scaled to before the middle is cut out; None for `size`."""
    crop: bool = False
    """Whether training sees random parts in place of the middle."""

    @property
    def scaling(self) -> str:
        """How the middle is made, to tell it from that of another view."""
        return str(self.size) if self.resize is None else f"{self.size} of {self.resize}"

    @property
    def told(self) -> list[str]:
        """What of the pixels depends on it, besides their number."""
        return [self.scaling] * (self.resize is not None) + ["random crops"] * self.crop

    def pixels(self, sides: tuple[int, int]) -> int:
        """The pixels of a picture of these sides, or of its scaled one where those are more."""
        scaled = sides if self.resize is None else _scaled(sides, self.resize)
        return max(math.prod(sides), math.prod(scaled))

    def middle(self, image: Image.Image) -> Image.Image:
        """The middle of the picture whose shorter side is scaled.

        With `resize` it is what torchvision's presets see, to the bit.
        """
        if self.resize is None:
            return _square(image, self.size)
        image = image.resize(_scaled(image.size, self.resize), Image.Resampling.BILINEAR)
        # Python's round, as torchvision's: halves go to the even number.
        left, top = (round((side - self.size) / 2) for side in image.size)
        return image.crop((left, top, left + self.size, top + self.size))

    def part(self, image: Image.Image, draw: int) -> Image.Image:
        """A random part of the picture, of the box that the number decides, scaled."""
        part = image.crop(random_box(image.size, draw))
        return part.resize((self.size, self.size), Image.Resampling.BILINEAR)


def random_box(sides: tuple[int, int], draw: int) -> Box:
    """The box of a random crop of a picture of this width and height.

    Area and ratio are drawn, uniformly the one and the logarithm of the other, until the box fits;
    after ten tries it is the largest one in the middle whose ratio is allowed.

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
    """Width and height once the shorter of them is scaled; the longer is rounded down."""
    least = min(sides)
    width, height = (shorter if side == least else int(shorter * side / least) for side in sides)
    return width, height


def _square(image: Image.Image, size: int) -> Image.Image:
    """The middle of the image whose shorter side is scaled to `size`; nothing else is scaled."""
    if image.size == (size, size):
        return image
    scale = size / min(image.size)
    spans = [_middle(side, max(size, round(side * scale)), size) for side in image.size]
    (left, right), (top, bottom) = spans
    return image.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, right, bottom))


def _middle(side: int, scaled: int, size: int) -> tuple[float, float]:
    """Start and end, in a side, of what becomes the middle of the scaled one."""
    start = (scaled - size) // 2
    return start * side / scaled, (start + size) * side / scaled
