from __future__ import annotations

import torch
from torch import Tensor


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
    squares = weight.detach().double().reshape(-1).square()
    falling, order = squares.sort(descending=True, stable=True)
    left = falling.cumsum(0)
    scores = torch.empty_like(squares)
    scores[order] = torch.where(falling > 0, falling / left, 0.0)
    return scores.reshape(weight.shape).float()
