"""How the weights of a layer are spread, in standard deviations."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from prunecli.types import REACH

BINS = 80
"""The bins of the histogram, from -REACH to REACH standard deviations."""


class Histogram(NamedTuple):
    """A histogram of weights around 0, with their standard deviation and mean."""

    weights: tuple[int, ...]
    """How many lie in each bin; those beyond the last are in none."""
    sigma: float
    mean: float


def histogram(weight: Tensor) -> Histogram:
    """The spread of the values of a tensor; equal ones, or a single one, lie in no bin."""
    sigma = weight.std(correction=min(1, weight.numel() - 1)) if weight.numel() else weight.sum()
    counts = torch.zeros(BINS)
    if sigma > 0:
        counts = torch.histc((weight / sigma).float().cpu(), BINS, -REACH, REACH)
    mean = weight.mean().item() if weight.numel() else 0.0
    return Histogram(tuple(map(int, counts.tolist())), sigma.item(), mean)
