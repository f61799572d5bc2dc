"""Shared by pruners with a mask of their own."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from prunecli.errors import BadUsage
from prunecli.files.artifacts import PRUNED
from prunecli.masks.mask import aligned, exact_count
from prunecli.masks.scopes import SCOPES
from prunecli.network.layers import prunable
from prunecli.tensors.zeros import zero_
from prunecli.types import Clock, Course, Mask, Params, Pruner, Scores


class Masked(Pruner):
    """A pruner with a mask, all ones at first, that is part of the training state."""

    def __init__(self, course: Course) -> None:
        self.params = course.params
        self.keep({name: torch.ones(w.shape, dtype=torch.bool) for name, w in self.params.items()})

    def keep(self, mask: Mask) -> None:
        """Replace the mask. It stays on the CPU; a copy goes to the device."""
        self.kept = {name: mask[name].cpu() for name in self.params}
        self.aligned = aligned(self.kept, self.params)

    def freeze(self) -> None:
        """Set the gradients of pruned weights to zero."""
        for name, kept in self.aligned.items():
            gradient = self.params[name].grad
            if gradient is not None:
                zero_(gradient, kept)

    def left(self, scores: Scores) -> Scores:
        """Scores for which selection never takes a pruned weight back."""
        return {n: s.cpu().float().masked_fill(~self.kept[n], PRUNED) for n, s in scores.items()}

    def mask(self, params: Params, clock: Clock) -> Mask:
        return self.kept

    def state_dict(self) -> dict[str, Tensor]:
        return {f"kept/{name}": kept for name, kept in self.kept.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.keep({name: state[f"kept/{name}"].clone() for name in self.params})


def check_interval(every: int | None) -> None:
    if every is not None and every < 1:
        raise BadUsage(f"every={every}: it must be 1 or more")


def interval(every: int | None, steps: int) -> int:
    """Steps between two changes: `every` if given, else 100, or a twentieth of all `steps`."""
    return every or max(1, min(100, steps // 20))


def check_density(density: float) -> None:
    if not 0 < density <= 1:
        raise BadUsage(f"density={density:g}: it must be above 0 and at most 1")


def check_left(density: float, params: Params, least: int = 1) -> None:
    """Raise BadUsage unless the density keeps `least` of the weights or more."""
    total = sum(weight.numel() for weight in params.values())
    if exact_count(density, total) < least:
        raise BadUsage(
            f"density={density:g}: it keeps fewer than {least} of {total:,} weights; raise it"
        )


def first_layer(course: Course) -> list[str]:
    """The layer that scope `uniform` does not prune: the network's first, if it is prunable."""
    first = next(iter(prunable(course.model).values()))
    return [name for name, weight in course.params.items() if weight is first]


def check_scope(scope: str) -> None:
    if scope not in SCOPES:
        raise BadUsage(f"scope={scope!r}: it must be one of {', '.join(SCOPES)}")
