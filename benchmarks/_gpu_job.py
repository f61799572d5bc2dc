"""What `gpu.py` is made of: jobs, of which each measures one row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from _pixels import CIFAR, MNIST, images

from prunecli.runtime.device import let_go
from prunecli.types import Images

GREY = ("cnn",)
"""Networks that are measured on images like MNIST's; the others take such as CIFAR-10's."""

FEW = 160
"""Images of the miniature."""


class LeftOut(Exception):
    """This cannot be measured here, or not in the time; says why."""


@dataclass(frozen=True)
class Setup:
    """Where to measure, and whether only to see that measuring works."""

    device: torch.device
    quick: bool = False

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    def images(self, network: str) -> Images:
        """As many as there are in the data set, or a few."""
        few = {"count": FEW} if self.quick else {}
        return images(**(MNIST if network in GREY else CIFAR) | few)


@dataclass(frozen=True)
class Job:
    """One row of the results."""

    part: str
    what: Mapping[str, Any]
    seconds: float
    """About how long it takes on an H100: it is not begun if less is left."""
    measure: Callable[[], dict[str, Any]]
    """Gives the figures. Raises LeftOut, or whatever goes wrong."""

    @property
    def label(self) -> str:
        return " ".join([self.part, *(str(value) for value in self.what.values())])


def spread(figures: list[float]) -> float:
    """How far apart they are: the highest less the lowest, in percent of the median."""
    middle = sorted(figures)[len(figures) // 2]
    return 100 * (max(figures) - min(figures)) / middle


def freed(device: torch.device) -> None:
    """Let go of what the job before has left on a GPU, and count its memory anew."""
    if device.type == "cuda":
        let_go()
        torch.cuda.reset_peak_memory_stats(device)


def most_memory(device: torch.device) -> int | None:
    """Bytes that a GPU has had set aside for this process since `freed`."""
    return torch.cuda.max_memory_reserved(device) if device.type == "cuda" else None
