"""Weights that are exactly zero without a mask, as other programs write them."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from prunecli.runtime.progress import Progress

UNSEEN = 0.05
"""The part of all weights that may be zero without a word: some are zero from the start, as a last
layer that is initialised so."""


def warn_of_zeros(weights: Mapping[str, Tensor], label: str, progress: Progress) -> None:
    """Warn if many weights are zero but count as kept."""
    total = sum(weight.numel() for weight in weights.values())
    zeros = total - sum(int(weight.count_nonzero()) for weight in weights.values())
    if zeros > UNSEEN * total:
        progress.warn(
            f"{label}: {zeros / total:.1%} of the weights are exactly zero but count as kept, "
            "as no mask is given; make one for --mask with 'prunecli mask CKPT --method nonzero'"
        )
