"""The distribution of a layer's weights, in standard deviations."""

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
    """The count in each bin; values beyond the last bin are not counted."""
    sigma: float
    mean: float


def histogram(weight: Tensor) -> Histogram:
    """The histogram of a tensor; all counts are 0 if its standard deviation is 0."""
    sigma = weight.std(correction=min(1, weight.numel() - 1)) if weight.numel() else weight.sum()
    counts = torch.zeros(BINS)
    if sigma > 0:
        counts = torch.histc((weight / sigma).float().cpu(), BINS, -REACH, REACH)
    mean = weight.mean().item() if weight.numel() else 0.0
    return Histogram(tuple(map(int, counts.tolist())), sigma.item(), mean)
