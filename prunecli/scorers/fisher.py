from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from prunecli.network.layers import prunable
from prunecli.scorers._autograd import samples
from prunecli.types import Batches, Scores


def fisher(
    model: nn.Module, data: Batches, *, batches: int = 1, per_class: int | None = None
) -> Scores:
    """Empirical Fisher information: OBD with squared gradients in place of the curvature.

        s_k = f_k * w_k^2,    f_k = mean over images n of (dL_n/dw_k)^2

    L_n is the loss of image n: gradients are squared first, then averaged.

    Source: Theis et al., Faster gaze prediction with Fisher pruning, arXiv 1801.05787, eq. 12
    """
    w = prunable(model)
    weights = list(w.values())
    total = [torch.zeros_like(each) for each in weights]
    count = 0
    for inputs, labels in samples(data, batches, per_class):
        for n in range(len(labels)):
            loss = F.cross_entropy(model(inputs[n : n + 1]), labels[n : n + 1])
            slopes = torch.autograd.grad(loss, weights, materialize_grads=True)
            for f, g in zip(total, slopes, strict=True):
                f += g.square()
            count += 1
    return {
        name: f / count * each.detach().square()
        for (name, each), f in zip(w.items(), total, strict=True)
    }
