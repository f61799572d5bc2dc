"""Analysing a model without changing it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from prunecli.network.layers import prunable


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """A context that restores the model, its gradients and the random state afterwards.

    Within it, every prunable weight requires gradients, even a frozen one or an RNN's.
    """
    buffers = [(module, name, b) for module in model.modules() for name, b in _buffers_of(module)]
    values = {tensor: tensor.detach().clone() for tensor in [*model.parameters(), *model.buffers()]}
    grads = {parameter: parameter.grad for parameter in model.parameters()}
    modes = {module: module.training for module in model.modules()}
    needs = {p: p.requires_grad for p in model.parameters()}
    device = next(model.parameters()).device
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []), _own_rnns(model):
            for weight in prunable(model).values():
                weight.requires_grad_()
            yield
    finally:
        for module, name, buffer in buffers:
            setattr(module, name, buffer)
        with torch.no_grad():
            for tensor, value in values.items():
                tensor.copy_(value)
        for parameter, grad in grads.items():
            parameter.grad = grad
        for module, mode in modes.items():
            module.training = mode
        for parameter, need in needs.items():
            parameter.requires_grad_(need)


@contextmanager
def _own_rnns(model: nn.Module) -> Iterator[None]:
    """Disable cuDNN for a network with an RNN, so that torch's own kernels compute it.

    cuDNN's RNNs have no gradient in evaluation mode, and no second derivative in any mode. cuDNN
    cannot be disabled for a single layer.
    """
    before = torch.backends.cudnn.enabled
    if any(isinstance(module, nn.RNNBase) for module in model.modules()):
        torch.backends.cudnn.enabled = False
    try:
        yield
    finally:
        torch.backends.cudnn.enabled = before


def _buffers_of(module: nn.Module) -> list[tuple[str, torch.Tensor]]:
    """A module's own buffers, including those that are not saved."""
    return list(module.named_buffers(recurse=False))
