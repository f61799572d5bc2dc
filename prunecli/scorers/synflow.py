from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from prunecli.masks import prunable
from prunecli.types import Batches, Scores, iterative


@iterative(rounds=100)
def synflow(model: nn.Module, data: Batches, *, conserve: bool = False) -> Scores:
    """Synaptic flow: how much of what flows from input to output goes through a weight.

    With every parameter replaced by its magnitude and an input of ones, R = sum of the outputs and

        s_j = |theta_j| * dR/d|theta_j| / R

    in float64. R, which only sets the unit, is divided out: it reaches 1e42 in a ResNet-56, and a
    float32 ends at 3e38. No data is used; batch normalisation is in evaluation mode. With
    `conserve`, biases are left out and batch normalisation is the identity: then what enters a
    hidden unit leaves it, and the scores of each layer of a plain network add up to 1.

    Pruned in one go, this collapses layers like others; `mask` takes 100 rounds unless told
    otherwise, as the paper does.

    Source: Tanaka et al., SynFlow, NeurIPS 2020, arXiv 2006.05467, eqs. 1 and 2 and algorithm 1
    """
    state: dict[str, Tensor] = {
        name: tensor.detach().abs().double() if tensor.is_floating_point() else tensor
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]
    }
    if conserve:
        state |= _without_biases(model, state)
    theta = {name: state[name].requires_grad_() for name in prunable(model)}
    ones = torch.ones(
        1, *data.input_shape, dtype=torch.float64, device=next(iter(theta.values())).device
    )
    r = functional_call(model, state, ones).sum()
    slopes = torch.autograd.grad(r, list(theta.values()), materialize_grads=True)
    unit = r.detach().abs() if r else torch.ones_like(r)
    return {
        name: w.detach() * slope / unit
        for (name, w), slope in zip(theta.items(), slopes, strict=True)
    }


def _without_biases(model: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """What makes every bias zero and every batch normalisation the identity."""
    changed = {n: torch.zeros_like(t) for n, t in state.items() if n.rpartition(".")[2] == "bias"}
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and f"{name}.running_var" in state:
            variance = state[f"{name}.running_var"]
            changed[f"{name}.running_mean"] = torch.zeros_like(variance)
            changed[f"{name}.weight"] = (variance + module.eps).sqrt()
    return changed
