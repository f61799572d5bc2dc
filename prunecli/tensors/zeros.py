"""Zeros, to the bit: which values are zero, and how to make them so."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

WHOLE = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Whole numbers of as many bytes as a float."""
SIGNED = {
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn,
    torch.float8_e5m2,
}  # fmt: skip
"""Types with a -0.0, which is a zero too: all bits but the first are."""
UNSIGNED = {
    torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool, torch.uint16,
    torch.uint32, torch.uint64, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz,
}  # fmt: skip
"""Types whose only zero has no bit set."""


def zero_(weight: Tensor, kept: Tensor) -> Tensor:
    """Set the weights that are not kept to exactly +0.0, in place.

    A product of floats would keep NaN and -0.0. One of their bits, taken for whole numbers, does
    not, and is far quicker than `masked_fill_`, which stumbles at random places.
    """
    weight.view(WHOLE[weight.element_size()]).mul_(kept)
    return weight


def magnitudes(values: Tensor) -> NDArray[np.generic]:
    """Whole numbers that are zero where the values are, of either sign.

    Ten times as quick as to compare bfloat16 with zero. `values` are of `SIGNED` or `UNSIGNED`.
    """
    bits = values.view(WHOLE[values.element_size()]).numpy()
    return bits << 1 if values.dtype in SIGNED else bits
