from __future__ import annotations

from prunecli.types import Clock, Mask, Params, Pruner


class Fixed(Pruner):
    """Keeps one mask during training: finetuning, or training after pruning at initialisation."""

    def __init__(self, mask: Mask) -> None:
        self.kept = mask

    def mask(self, params: Params, clock: Clock) -> Mask:
        return self.kept
