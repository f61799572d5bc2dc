"""Layers that are either very sparse or very dense, while all together meet a budget."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from prunecli.errors import BadUsage

MARGIN = 1e-6
"""The relative distance that a threshold keeps from the nearest weight."""
CENTRAL = 0.01
"""The weight of the target's distance from the middle of what the sides can reach, relative to its
distance from the range itself. At the ends of the range, layers would be empty or whole."""


def apart_limits(text: str) -> tuple[float, float]:
    """Sparsities s_l and s_u from 'LOW:HIGH'. Raises BadUsage unless 0 <= LOW < HIGH < 1."""
    try:
        low, high = map(float, text.split(":"))
    except ValueError:
        low, high = 1.0, 0.0
    if not 0 <= low < high < 1:
        raise BadUsage(f"apart={text}: give LOW:HIGH, 0 <= LOW < HIGH < 1")
    return low, high


@dataclass(frozen=True)
class Apart:
    """The band low < s < high in which no layer should end; tensors have a value per layer."""

    low: float
    high: float
    shares: Tensor
    """c_i, the layers' weights in the sum of sparsities."""
    lower: Tensor
    """The least sparsity of each layer."""
    upper: Tensor
    target: float | None
    """The target of sum_i c_i s_i, if there is one."""

    def sides(self, s: Tensor) -> Tensor:
        """Which layers should be sparse: the k sparsest, as true or false per layer.

        k is chosen so that the two sides together can reach the target, or come as near as
        possible; among several such k, the target is nearest to the middle of the range. A layer
        whose own limits allow only one side is on that side.
        """
        key = s + 2.0 * (self.lower > self.low) - 2.0 * (self.upper < self.high)
        if self.target is None:
            return key > (self.low + self.high) / 2
        order = key.argsort(descending=True, stable=True)
        c, lower, upper = self.shares[order], self.lower[order], self.upper[order]
        least = _together(c * lower.clamp_min(self.high), c * lower)
        most = _together(c * upper, c * upper.clamp_max(self.low))
        off = (least - self.target).clamp_min(0) + (self.target - most).clamp_min(0)
        k = torch.arange(len(off), device=s.device)
        off = off + CENTRAL * ((least + most) / 2 - self.target).abs()
        # Of layers whose limits decide, none is on the other side.
        off = off + 2.0 * (k < (key >= 2).sum()) + 2.0 * (k > (key >= 0).sum())
        sparse = torch.zeros_like(s, dtype=torch.bool)
        return sparse.scatter(0, order, k[: len(s)] < off.argmin())

    def distance(self, s: Tensor) -> Tensor:
        """sum_i c_i * (distance of s_i from its side of the band); 0 if no layer is in the band."""
        with torch.no_grad():
            sparse = self.sides(s)
        off = torch.where(sparse, self.high - s, s - self.low)
        return (self.shares * off.clamp_min(0)).sum()

    def bounds(self, sizes: Tensor, sparse: bool) -> tuple[float, float]:
        """The lowest and highest thresholds that put a layer of these magnitudes on its side."""
        ordered, count = sizes.flatten().sort().values, sizes.numel()
        if sparse:
            last = ordered[min(-int(-self.high * count // 1), count) - 1]
            return float(last) * (1 + MARGIN), float("inf")
        return 0.0, float(ordered[int(self.low * count)]) * (1 - MARGIN)


def _together(sparse: Tensor, dense: Tensor) -> Tensor:
    """For each k from 0: the sum of the first k of `sparse` and the rest of `dense`."""
    none = sparse.new_zeros(1)
    return torch.cat([none, (sparse - dense).cumsum(0)]) + dense.sum()
