"""Weights that somebody else has trained, as a start."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Pretrained:
    """Published weights: what they are called, and the state_dict."""

    name: str
    tensors: dict[str, Tensor]


def has_pretrained(model: str) -> bool:
    return model.startswith("torchvision:")


def pretrained(model: str) -> Pretrained:
    """The published weights of a network. Raises BadEnvironment if they cannot be had."""
    from prunecli.models import _torchvision

    return Pretrained(*_torchvision.pretrained(model.partition(":")[2]))
