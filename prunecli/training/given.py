"""Checks of what a pruner returns; it can be other people's code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from prunecli.errors import Mismatch
from prunecli.types import Clock, Mask, Params, Pruner, form


def mask_of(pruner: Pruner, params: Params, clock: Clock, seen: Mask) -> Mask:
    """The pruner's mask, unchecked if it is the one `seen` last.

    Raises Mismatch unless its tensors are bool, with the names and shapes of the weights.
    """
    mask = pruner.mask(params, clock)
    if mask is not seen:
        _check(pruner, "a mask", mask, params, torch.bool)
    return mask


def is_steady(pruner: Pruner) -> bool:
    """Whether its part in a step, up to the gradients, is the same at every step."""
    kind = type(pruner)
    idle = kind.weights is Pruner.weights and kind.penalty is Pruner.penalty
    return idle or pruner.steady


def weights_of(pruner: Pruner, params: Params, clock: Clock) -> Params:
    """What it puts in place of weights. Raises Mismatch unless their names and shapes are those."""
    weights = pruner.weights(params, clock)
    _check(pruner, "weights", weights, params, None)
    return weights


def penalty_of(pruner: Pruner, params: Params, clock: Clock) -> Tensor | None:
    """What it adds to the loss. Raises Mismatch unless that is a single number, or None."""
    penalty = pruner.penalty(params, clock)
    if penalty is not None and not (isinstance(penalty, Tensor) and penalty.ndim == 0):
        raise Mismatch(f"{_label(pruner)} gives a penalty that is {form(penalty)}, not a scalar")
    return penalty


def _check(
    pruner: Pruner, what: str, given: Any, params: Params, dtype: torch.dtype | None
) -> None:
    if not isinstance(given, Mapping):
        raise Mismatch(f"{_label(pruner)} gives {what} that is {form(given)}, not a dict")
    for name, each in given.items():
        if name not in params:
            raise Mismatch(
                f"{_label(pruner)} gives {what} of {name!r}, which is not one of its weights"
            )
        own = params[name]
        fits = isinstance(each, Tensor) and each.shape == own.shape
        if not fits or dtype not in (None, each.dtype):
            wanted = f"{'bool ' if dtype else ''}{list(own.shape)}"
            raise Mismatch(
                f"{_label(pruner)} gives {what} of {name!r} that is {form(each)}, not {wanted}"
            )


def _label(pruner: Pruner) -> str:
    return f"the pruner {type(pruner).__name__!r}"
