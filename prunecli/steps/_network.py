"""The network that a checkpoint's metadata describes, built and filled with its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from prunecli import registry
from prunecli.errors import BadInput, Mismatch, some
from prunecli.files.artifacts import read_state_dict
from prunecli.files.tensors import TensorFile
from prunecli.masks import prunable, prunable_names


def build_model(model: Mapping[str, Any]) -> nn.Module:
    """The network that a checkpoint's metadata describes, with fresh weights."""
    build: Callable[..., nn.Module] = registry.find("models", model["name"], by_file=True)
    options = registry.bind("models", model["name"], model["options"])
    return build(tuple(model["input_shape"]), model["classes"], **options)


def load_model(checkpoint: TensorFile) -> nn.Module:
    """The checkpoint's network with its weights. Raises Mismatch if they do not fit each other."""
    if checkpoint.meta is None or not checkpoint.meta.get("model"):
        raise Mismatch(
            f"{checkpoint.label}: it does not say which network it holds; adopt it with "
            "'prunecli train CKPT --model NAME --dataset NAME --epochs 0 -o OUT'"
        )
    described = checkpoint.meta["model"]
    damaged = f"{checkpoint.label}: its description of the network is damaged"
    tensors = read_state_dict(checkpoint)
    try:
        bare = without_memory(described)
    except UNFIT:
        raise BadInput(damaged) from None
    if bare is not None:
        check_weights(bare, tensors, checkpoint.label)
    model = build_model(described)
    load_weights(model, tensors, checkpoint.label)
    if not (bare is not None and _takes(bare, described, "meta")) and not _takes(model, described):
        raise BadInput(damaged)
    if odd := [name for name in prunable_names(checkpoint) if name not in prunable(model)]:
        raise BadInput(f"{checkpoint.label}: {some(odd)} are not weights of Conv or Linear")
    return model


UNFIT = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RuntimeError)
"""What a model raises for options, images and classes that it cannot be built for."""


def without_memory(described: Mapping[str, Any]) -> nn.Module | None:
    """`build_model` with shapes but no weights: a damaged description may ask for any amount.

    None for a network that cannot be built so. Raises what the model raises.
    """
    try:
        with torch.device("meta"):
            return build_model(described)
    except NotImplementedError:
        return None


def _takes(model: nn.Module, described: Mapping[str, Any], device: str = "cpu") -> bool:
    """Whether images of the shape that is described go through the network."""
    training = model.training
    try:
        with torch.no_grad(), torch.device(device):
            model.eval()(torch.zeros(1, *described["input_shape"]))
    except UNFIT:
        return False
    finally:
        model.train(training)
    return True


def load_weights(model: nn.Module, tensors: Mapping[str, Tensor], label: str) -> None:
    """Load a state_dict. Raises Mismatch naming the first names or shapes that do not fit."""
    check_weights(model, tensors, label)
    model.load_state_dict(dict(tensors))


def check_weights(model: nn.Module, tensors: Mapping[str, Tensor], label: str) -> None:
    """Raise Mismatch unless these are the network's tensors, by name and shape."""
    own = {name: tuple(t.shape) for name, t in model.state_dict().items()}
    given = {name: tuple(t.shape) for name, t in tensors.items()}
    faults = []
    if missing := [name for name in own if name not in given]:
        faults.append(f"it misses {some(missing)}")
    if extra := [name for name in given if name not in own]:
        faults.append(f"it has {some(extra)} too many")
    for name in [n for n in own if n in given and own[n] != given[n]][:3]:
        faults.append(f"{name!r} is {list(given[name])}, not {list(own[name])}")
    if faults:
        raise Mismatch(f"{label}: its tensors are not this network's: {'; '.join(faults)}")
