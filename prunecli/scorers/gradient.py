from __future__ import annotations

from torch import nn

from prunecli.network.layers import prunable
from prunecli.scorers._autograd import gradients
from prunecli.types import Batches, Scores


def gradient(model: nn.Module, data: Batches, *, batches: int = 1) -> Scores:
    """Weight times gradient: the first-order change of the loss if the weight is removed.

        s_j = |w_j * g_j|,    g = mean over batches of dL/dw

    Source: Mozer & Smolensky, Skeletonization, NIPS 1989; foresight thesis, eq. 2.2
    """
    g, w = gradients(model, data, batches), prunable(model)
    return {name: (w[name] * g[name]).abs() for name in w}
