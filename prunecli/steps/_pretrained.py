"""Published weights as a starting point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prunecli.errors import BadUsage
from prunecli.settings.train import ModelSettings

if TYPE_CHECKING:  # planning asks here, and needs no torch unless there are weights to be checked
    from torch import Tensor


@dataclass(frozen=True)
class Pretrained:
    """Published weights: what they are called, and the state_dict."""

    name: str
    tensors: dict[str, Tensor]


def check_published(asked: ModelSettings) -> None:
    """Raise BadUsage for options given twice, or weights that are not published for the network.

    It needs neither the network nor the weights.
    """
    own = asked.options
    if asked.published is None:
        return
    flag = "--weights" if asked.weights is not None else "--pretrained"
    family, _, name = (asked.name or "").partition(":")
    if family != "torchvision":
        raise BadUsage(f"{flag} needs --model torchvision:NAME")
    if own.get("thin", 1) != 1:
        raise BadUsage(f"{flag} needs the full network; leave thin out")
    from prunecli.models import _torchvision

    _torchvision.weights(name, asked.published)


def pretrained(asked: ModelSettings) -> Pretrained | None:
    """The published weights to start from, if any. Raises BadEnvironment if they cannot be had."""
    if asked.published is None:
        return None
    from prunecli.models import _torchvision

    name = (asked.name or "").partition(":")[2]
    return Pretrained(*_torchvision.pretrained(name, asked.published))
