"""Samples, gradients and initialisations for scorers."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prunecli.errors import BadUsage
from prunecli.network.layers import prunable
from prunecli.tensors.zeros import zero_
from prunecli.types import Batches, Mask, Params


def samples(
    data: Batches, batches: int | None, per_class: int | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """The first `batches` batches, or a single one with `per_class` images of each class.

    Gives fewer if the data has fewer; None means all. Raises BadUsage for less than one batch.
    """
    if per_class is not None:
        return iter([data.per_class(per_class)])
    if batches is not None and batches < 1:
        raise BadUsage(f"batches={batches}: at least one batch is needed")
    return islice(data, batches)


def gradients(
    model: nn.Module, data: Batches, batches: int | None, per_class: int | None = None
) -> Params:
    """g = dL/dw, where L is the mean cross-entropy over all images of the batches (see `samples`).

    Nothing accumulates in `.grad`.
    """
    weights = prunable(model)
    total: dict[str, Tensor] = {name: torch.zeros_like(w) for name, w in weights.items()}
    count = 0
    for inputs, labels in samples(data, batches, per_class):
        loss = F.cross_entropy(model(inputs), labels)
        slopes = torch.autograd.grad(loss, list(weights.values()), materialize_grads=True)
        for name, g in zip(weights, slopes, strict=True):
            total[name] += g * len(labels)
        count += len(labels)
    return {name: g / count for name, g in total.items()}


@torch.no_grad()
def xavier_(model: nn.Module, seed: int, mask: Mask | None) -> None:
    """Draw the prunable weights again: normal, with variance 2 / (fan_in + fan_out).

    Weights that the mask removed stay zero. Others that are zero do not: some start at zero.

    Source: Glorot & Bengio, AISTATS 2010, eq. 16
    """
    draw = torch.Generator().manual_seed(seed)
    for name, weight in prunable(model).items():
        weight.copy_(nn.init.xavier_normal_(torch.empty(weight.shape), generator=draw))
        if mask and name in mask:
            zero_(weight, mask[name].to(weight.device))
