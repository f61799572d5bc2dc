"""What a checkpoint says about its network."""

from __future__ import annotations

from typing import Any

from torch import nn

from prunecli.network.layers import classifier, is_transposed, prunable


def structure(model: nn.Module) -> dict[str, Any]:
    """The number of parameters, the prunable weights, and the classifier's weight.

    `layouts` has the weights that are not [outputs, inputs], if any; see `roles.layout`.
    """
    weights = prunable(model)
    io = [name for name in weights if is_transposed(model, name)]
    layouts = {"layouts": dict.fromkeys(io, "io")} if io else {}
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "prunable": list(weights),
        "classifier": classifier(model),
        **layouts,
    }
