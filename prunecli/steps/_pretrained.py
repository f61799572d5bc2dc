"""Weights that somebody else has trained, as a start."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from prunecli.errors import Mismatch, some
from prunecli.masks import prunable
from prunecli.modules import fill
from prunecli.types import Progress


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


def adopt(model: nn.Module, given: Pretrained, progress: Progress) -> None:
    """Load weights; a last layer for other classes keeps its initialisation.

    Tensors that the network has no place for (further classifiers used in training) are left out.
    Raises Mismatch if others do not fit.
    """
    own = model.state_dict()
    last = list(prunable(model))[-1].removesuffix("weight")
    odd = [n for n in own if n not in given.tensors or given.tensors[n].shape != own[n].shape]
    if wrong := [name for name in odd if name not in (f"{last}weight", f"{last}bias")]:
        raise Mismatch(f"{given.name}: {some(wrong)} do not fit the network")
    if odd:
        progress.say(f"{given.name}: {last.rstrip('.')!r} starts anew, for the data's own classes")
    fill(model, {n: given.tensors[n] for n in own if n not in odd}, strict=False)
