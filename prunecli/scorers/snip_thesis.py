from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from prunecli.scorers._autograd import gradients, xavier_
from prunecli.types import Batches, Mask, Scores


def snip_thesis(
    model: nn.Module,
    data: Batches,
    *,
    batches: int = 1,
    per_class: int | None = None,
    init: Literal["own", "xavier"] = "xavier",
    seed: int = 0,
    mask: Mask | None = None,
) -> Scores:
    """Magnitude of the gradient alone: SNIP as the foresight thesis prints it.

        s_j = |g_j| / sum_k |g_k|,    g = mean over batches of dL/dw

    This is not SNIP, which differentiates by a gate on the weight and so has |g_j * w_j|. It is
    here for comparison. By default it scores freshly drawn weights (`init=xavier`).

    Source: foresight thesis, eq. 3.5
    """
    if init == "xavier":
        xavier_(model, seed, mask)
    g = gradients(model, data, batches, per_class)
    total = torch.stack([each.abs().double().sum() for each in g.values()]).sum()
    return {name: each.abs() / total.where(total > 0, 1.0) for name, each in g.items()}
