from __future__ import annotations

import torch
from torch import Tensor

LARGEST = (1 << 31) - 1
"""Of the bits of a float without a sign. Its xor turns their order around."""


def lamp(weight: Tensor) -> Tensor:
    """Layer-adaptive magnitude: a weight's share of what would be left if it went next.

    With a layer's weights in falling order of magnitude,

        s_u = w_u^2 / sum_{v <= u} w_v^2

    so the largest weight of each layer scores exactly 1. Sums are in float64: the tail of millions
    of small squares would drown in float32. Equal weights rank by their place, earlier first. The
    zero weights of a layer score 0.

    Source: Lee et al., Layer-adaptive Sparsity for the Magnitude-based Pruning, ICLR 2021,
    arXiv 2010.07611, eq. 4 (eq. 3.4 in the foresight thesis)
    """
    size = weight.detach().float().abs().reshape(-1)
    # Floats without a sign rank as their bits do, and whole numbers are sorted by counting.
    rising, order = (size.view(torch.int32) ^ LARGEST).sort(stable=True)
    falling = (rising ^ LARGEST).view(torch.float32).double().square_()
    left = falling.cumsum(0)
    scores = torch.where(falling > 0, falling / left, 0.0).float()
    return torch.empty_like(size).scatter_(0, order, scores).reshape(weight.shape)
