"""Layers that are either very sparse or very dense, while all together meet a budget."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from prunecli.errors import BadUsage

MARGIN = 1e-6
"""How far a threshold lies from a weight that it must not be taken for, relative to that."""
CENTRAL = 0.01
"""How much it counts that the target lies in the middle of what the sides can reach, beside that it
lies within it. At the ends, layers would be empty or whole."""


def apart_limits(text: str) -> tuple[float, float]:
    """Sparsities s_l and s_u of 'LOW:HIGH'. Raises BadUsage for what is no band of sparsities."""
    try:
        low, high = map(float, text.split(":"))
    except ValueError:
        low, high = 1.0, 0.0
    if not 0 <= low < high < 1:
        raise BadUsage(f"apart={text}: give LOW:HIGH, 0 <= LOW < HIGH < 1")
    return low, high


@dataclass(frozen=True)
class Apart:
    """The band low < s < high that no layer is to end in; tensors have a value for each layer."""

    low: float
    high: float
    shares: Tensor
    """c_i, by which the layers' sparsities add up."""
    lower: Tensor
    """The least sparsity of each layer."""
    upper: Tensor
    target: float | None
    """What sum_i c_i s_i is to be, if anything."""

    def sides(self, s: Tensor) -> Tensor:
        """Which layers are to be sparse: the k sparsest, as true or false by layer.

        k is chosen so that the target lies within what these sides can reach together, or else as
        near to it as possible; of several such k, the one with the target nearest to the middle. A
        layer whose own limits leave it one side is on that side.
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
        """sum_i c_i times how far s_i is from its side of the band; 0 if no layer is within it."""
        with torch.no_grad():
            sparse = self.sides(s)
        off = torch.where(sparse, self.high - s, s - self.low)
        return (self.shares * off.clamp_min(0)).sum()

    def bounds(self, sizes: Tensor, sparse: bool) -> tuple[float, float]:
        """The thresholds that leave a layer of such magnitudes on its side, from and to."""
        ordered, count = sizes.flatten().sort().values, sizes.numel()
        if sparse:
            last = ordered[min(-int(-self.high * count // 1), count) - 1]
            return float(last) * (1 + MARGIN), float("inf")
        return 0.0, float(ordered[int(self.low * count)]) * (1 - MARGIN)


def _together(sparse: Tensor, dense: Tensor) -> Tensor:
    """By k, from 0 on: the first k of `sparse` and the others of `dense` added up."""
    none = sparse.new_zeros(1)
    return torch.cat([none, (sparse - dense).cumsum(0)]) + dense.sum()
