"""Selection on a GPU by sorting, which avoids copying the scores to the CPU."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from prunecli.errors import NotFinite
from prunecli.types import Mask


def sorted_out(scores: Mapping[str, Tensor], keep: int) -> Mask:
    """The result of `select.keep_highest`, on the device of the scores.

    The sort is a stable one, so that equal scores stay in order, and -0.0 is taken for 0.0.
    """
    for name, each in scores.items():
        if not float(each.max()) < math.inf:  # NaN if anything is
            raise not_finite(name)
    flat = torch.cat([each.detach().float().reshape(-1) for each in scores.values()]) + 0.0
    order = flat.sort(descending=True, stable=True).indices
    kept = torch.zeros_like(flat, dtype=torch.bool).index_fill_(0, order[:keep], True)
    parts = torch.split(kept, [each.numel() for each in scores.values()])
    return {n: p.view(each.shape) for (n, each), p in zip(scores.items(), parts, strict=True)}


def not_finite(name: str) -> NotFinite:
    return NotFinite(f"the scores of {name!r} hold NaN or infinity, so nothing was selected")
