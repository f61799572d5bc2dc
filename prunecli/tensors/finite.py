"""Whether values are finite."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def all_finite(tensor: Tensor) -> bool:
    """Whether there is no NaN and no infinity: the sum, which is quicker to see, would be one."""
    if not tensor.is_floating_point():
        return True
    if tensor.element_size() == 1:  # torch adds up no float8
        tensor = tensor.float()
    return math.isfinite(float(tensor.sum())) or bool(torch.isfinite(tensor).all())
