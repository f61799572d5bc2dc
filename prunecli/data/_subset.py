"""A part of a training set."""

from __future__ import annotations

from dataclasses import replace

import torch

from prunecli.errors import BadUsage
from prunecli.types import Images


def subset(data: Images, split: str, fraction: float) -> Images:
    """The given fraction of every class of a training set, evenly spaced; a whole test set.

    Raises BadUsage unless 0 < fraction <= 1.
    """
    if not 0 < fraction <= 1:
        raise BadUsage(f"fraction={fraction:g}: it must be above 0 and at most 1")
    if fraction == 1 or split != "train":
        return data
    chosen = []
    for label in range(len(data.classes)):
        own = (data.labels == label).nonzero()[:, 0]
        count = max(1, round(fraction * len(own))) if len(own) else 0
        chosen.append(own[torch.arange(count) * len(own) // max(count, 1)])
    index = torch.cat(chosen).sort().values
    return replace(data, images=data.images[index], labels=data.labels[index])
