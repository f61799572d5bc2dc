"""Look at a model without leaving a trace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Whatever happens within, the model, its gradients and the random state are as before."""
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    grads = {name: p.grad for name, p in model.named_parameters()}
    modes = {module: module.training for module in model.modules()}
    needs = {p: p.requires_grad for p in model.parameters()}
    device = next(model.parameters()).device
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        with torch.no_grad():
            for name, tensor in model.state_dict().items():
                tensor.copy_(state[name])
        for name, parameter in model.named_parameters():
            parameter.grad = grads[name]
        for module, mode in modes.items():
            module.training = mode
        for parameter, need in needs.items():
            parameter.requires_grad_(need)
