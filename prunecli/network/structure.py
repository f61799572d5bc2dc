"""What a checkpoint says of the network that its tensors are of."""

from __future__ import annotations

from typing import Any

from torch import nn

from prunecli.network.layers import classifier, is_transposed, prunable


def structure(model: nn.Module) -> dict[str, Any]:
    """How many parameters there are, which weights may be pruned, and which gives the classes.

    `layouts` are those of weights that are not [outputs, inputs], if any; see `roles.layout`.
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
