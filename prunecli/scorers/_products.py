"""The change of gradient flow by which GraSP ranks weights, and the thesis in reverse order."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from prunecli.errors import BadUsage
from prunecli.network.layers import prunable
from prunecli.scorers._hessian import twice_differentiable
from prunecli.types import Batches, Scores


def weight_times_hessian_gradient(
    model: nn.Module, data: Batches, per_class: int, temperature: float
) -> Scores:
    """theta * Hg for the loss L = cross-entropy(logits / T) on `per_class` images of each class.

    As in the authors' code, the images are split into two halves, to need half the memory: g is the
    sum of the halves' gradients and H the sum of their Hessians. Batch normalisation is in training
    mode and uses the statistics of each half. Raises BadUsage for T <= 0.
    """
    if not temperature > 0:
        raise BadUsage(f"temperature={temperature:g}: it must be above 0")
    model.train()
    theta = prunable(model)
    weights = list(theta.values())
    inputs, labels = data.per_class(per_class)
    middle = max(1, len(labels) // 2)
    halves = [(inputs[:middle], labels[:middle]), (inputs[middle:], labels[middle:])]

    def gradient(half: tuple[torch.Tensor, torch.Tensor], graph: bool) -> list[torch.Tensor]:
        with twice_differentiable():
            loss = F.cross_entropy(model(half[0]) / temperature, half[1])
        return list(torch.autograd.grad(loss, weights, create_graph=graph, materialize_grads=True))

    g = [a + b for a, b in zip(*(gradient(half, graph=False) for half in halves), strict=True)]
    product = [torch.zeros_like(w) for w in weights]
    for half in halves:
        dot = torch.stack(
            [(a * b).sum() for a, b in zip(gradient(half, graph=True), g, strict=True)]
        ).sum()
        if dot.requires_grad:  # or the loss is linear in all weights
            for sum_, part in zip(
                product, torch.autograd.grad(dot, weights, materialize_grads=True), strict=True
            ):
                sum_ += part
    return {name: w.detach() * hg for (name, w), hg in zip(theta.items(), product, strict=True)}
