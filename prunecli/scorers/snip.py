from __future__ import annotations

from torch import nn

from prunecli.masks import prunable
from prunecli.scorers._autograd import gradients
from prunecli.types import Batches, Scores


def snip(model: nn.Module, data: Batches, *, batches: int = 1) -> Scores:
    """Connection sensitivity, |dL/dc| at c = 1.

    With weights c*w, dL/dc = (dL/dw)*w, so no gate is needed:

        s_j = |g_j * w_j|,    g = mean over batches of dL/dw

    Dividing by the sum over all weights, as the paper does, would not change their order.

    Source: Lee et al., SNIP, ICLR 2019, arXiv 1810.02340, eq. 4
    """
    g, w = gradients(model, data, batches), prunable(model)
    return {name: (g[name] * w[name]).abs() for name in w}
