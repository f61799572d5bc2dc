from __future__ import annotations

from typing import Literal

from torch import nn

from prunecli.network.layers import prunable
from prunecli.scorers._autograd import gradients, xavier_
from prunecli.types import Batches, Mask, Scores


def snip(
    model: nn.Module,
    data: Batches,
    *,
    batches: int = 1,
    per_class: int | None = None,
    init: Literal["own", "xavier"] = "own",
    seed: int = 0,
    mask: Mask | None = None,
) -> Scores:
    """Connection sensitivity: |dL/dc| at c = 1, for a gate c on each weight.

    With weights c*w, dL/dc = (dL/dw)*w, so no gate is needed:

        s_j = |g_j * w_j|,    g = mean over batches of dL/dw

    The paper divides by the sum over all weights, which does not change the order. With
    `init=xavier`, freshly drawn weights are scored in place of the network's own, except those that
    the mask removed.

    Source: Lee et al., SNIP, ICLR 2019, arXiv 1810.02340, eq. 4
    """
    if init == "xavier":
        xavier_(model, seed, mask)
    g, w = gradients(model, data, batches, per_class), prunable(model)
    return {name: (g[name] * w[name]).abs() for name in w}
