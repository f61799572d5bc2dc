"""Whether values are finite."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def all_finite(tensor: Tensor) -> bool:
    """Whether no value is NaN or infinite. A finite sum shows it faster than each value."""
    if not tensor.is_floating_point():
        return True
    if tensor.element_size() == 1:  # torch cannot sum float8
        tensor = tensor.float()
    return math.isfinite(float(tensor.sum())) or bool(torch.isfinite(tensor).all())
