"""The prunable weights of a network."""

from __future__ import annotations

import re

from torch import Tensor, nn

from prunecli.types import Params

MATRICES: dict[type[nn.Module] | tuple[type[nn.Module], ...], re.Pattern[str]] = {
    (nn.modules.conv._ConvNd, nn.Linear): re.compile("weight"),
    nn.MultiheadAttention: re.compile("(in|[qkv])_proj_weight"),
    (nn.RNNBase, nn.RNNCellBase): re.compile(r"weight_(ih|hh|hr)(_l\d+(_reverse)?)?"),
}
"""The names of the prunable parameters, by their modules' types."""


def prunable(model: nn.Module) -> Params:
    """The prunable weights: those of `MATRICES`, in module order; no biases, no normalisation.

    A weight that several modules share appears once, under its first name.
    """
    return {name: weight for name, weight in model.named_parameters() if _multiplies(model, name)}


def _multiplies(model: nn.Module, name: str) -> bool:
    """Whether `MATRICES` lists a parameter."""
    owner, _, own = name.rpartition(".")
    module = model.get_submodule(owner)
    return any(
        isinstance(module, kinds) and names.fullmatch(own) for kinds, names in MATRICES.items()
    )


def is_transposed(model: nn.Module, name: str) -> bool:
    """Whether a weight is [inputs, outputs], as in a transposed convolution."""
    module = model.get_submodule(name.rpartition(".")[0])
    return isinstance(module, nn.modules.conv._ConvTransposeNd)


def classifier(model: nn.Module) -> str | None:
    """The name of the last linear layer's weight, the one that gives the class scores.

    A shared weight has the name that `prunable` gives it. None if there is no linear layer.
    """
    linear = [module.weight for module in model.modules() if isinstance(module, nn.Linear)]
    names: dict[Tensor, str] = {weight: name for name, weight in model.named_parameters()}
    return names.get(linear[-1]) if linear else None
