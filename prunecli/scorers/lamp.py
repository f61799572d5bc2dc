from __future__ import annotations

import torch
from torch import Tensor

LARGEST = (1 << 31) - 1
"""The largest bits of a float without a sign. An xor with them turns the order of such bits
around."""
SMALLEST = torch.finfo(torch.float64).tiny
"""The sum where all weights are zero, to avoid 0 / 0."""
CACHED = 1 << 15
"""Weights whose sums fit into the processor's cache, which is three times as fast."""


def lamp(weight: Tensor) -> Tensor:
    """Layer-adaptive magnitude: the weight's share of the squares left in its layer at its turn.

    With a layer's weights in descending order of magnitude,

        s_u = w_u^2 / sum_{v <= u} w_v^2

    so the largest weight of each layer scores exactly 1. Sums are in float64: float32 would lose
    millions of small squares. Equal weights rank by position, the earlier higher. Zero weights
    score 0.

    Source: Lee et al., Layer-adaptive Sparsity for the Magnitude-based Pruning, ICLR 2021,
    arXiv 2010.07611, eq. 4 (eq. 3.4 in the foresight thesis)
    """
    size = weight.detach().float().abs().reshape(-1)
    # Floats without a sign rank as their bits do, and whole numbers are sorted by counting.
    rising, order = size.view(torch.int32).bitwise_xor_(LARGEST).sort(stable=True)
    falling = rising.bitwise_xor_(LARGEST).view(torch.float32)
    larger = size.new_zeros(1, dtype=torch.float64)
    for part in torch.split(falling, CACHED):  # which becomes its scores
        squares = part.double().square_()
        left = torch.cat([larger, squares]).cumsum_(0)
        larger = left[-1:]
        part.copy_(squares.div_(left[1:].clamp_min_(SMALLEST)))
    return size.scatter_(0, order, falling).reshape(weight.shape)
