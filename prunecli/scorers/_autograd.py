"""Gradients for scorers."""

from __future__ import annotations

from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prunecli.errors import BadUsage
from prunecli.masks import prunable
from prunecli.types import Batches, Params


def gradients(model: nn.Module, data: Batches, batches: int) -> Params:
    """g = mean over the first `batches` batches of dL/dw, L the mean cross-entropy of a batch.

    Nothing accumulates in `.grad`. Fewer batches are used if the data has no more. Raises BadUsage
    for fewer than one.
    """
    if batches < 1:
        raise BadUsage(f"batches={batches}: at least one batch is needed")
    weights = prunable(model)
    total: dict[str, Tensor] = {name: torch.zeros_like(w) for name, w in weights.items()}
    count = 0
    for inputs, labels in islice(data, batches):
        loss = F.cross_entropy(model(inputs), labels)
        for name, g in zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True):
            total[name] += g
        count += 1
    return {name: g / count for name, g in total.items()}
