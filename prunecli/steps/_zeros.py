"""Weights that are exactly zero though no mask says so, as other programs leave them."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from prunecli.runtime.progress import Progress

UNSEEN = 0.05
"""The part of all weights that may be zero without a word: some are zero from the start, as a last
layer that is initialised so."""


def warn_of_zeros(weights: Mapping[str, Tensor], label: str, progress: Progress) -> None:
    """Say so where many weights are zero that count as kept."""
    total = sum(weight.numel() for weight in weights.values())
    zeros = total - sum(int(weight.count_nonzero()) for weight in weights.values())
    if zeros > UNSEEN * total:
        progress.warn(
            f"{label}: {zeros / total:.1%} of the weights are exactly zero but count as kept, "
            "as no mask is given; make one for --mask with 'prunecli mask CKPT --method nonzero'"
        )
