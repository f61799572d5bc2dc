"""Keeps pruned weights at exactly zero."""

from __future__ import annotations

from prunecli.masks.mask import aligned, apply_
from prunecli.training.given import mask_of
from prunecli.training.state import TrainingState
from prunecli.types import Clock, Mask


class Masker:
    """Zeroes the weights that the pruner's mask removes; only new masks go to the device.

    For weights that a new mask takes back, the optimizer's state starts at zero.
    """

    def __init__(self, state: TrainingState) -> None:
        self.state, self.pruner, self.params = state, state.pruner, state.params
        self.seen: Mask = {}
        self.kept: Mask = {}
        """The mask on the device. The same tensors for as long as the same weights are masked."""

    def look(self, clock: Clock) -> bool:
        """Take the current mask; returns whether it is new."""
        mask = mask_of(self.pruner, self.params, clock, self.seen)
        if mask is self.seen:
            return False
        self.seen, new = mask, aligned(mask, self.params)
        self.state.forget(self.kept, new)
        if new.keys() != self.kept.keys():
            self.kept = new
            return True
        for name, kept in self.kept.items():  # whatever is recorded goes on with these
            kept.copy_(new[name])
        return True

    def apply(self) -> None:
        apply_(self.params, self.kept)

    def update(self, clock: Clock) -> None:
        """Take the current mask, and apply it if it is new."""
        if self.look(clock):
            self.apply()

    def facts(self) -> dict[str, float]:
        """The density over all prunable weights, or as the pruner counts it, if there is a mask."""
        if not self.kept:
            return {}
        whole = sum(w.numel() for n, w in self.params.items() if n not in self.kept)
        left = sum(int(each.sum()) for each in self.kept.values())
        if self.pruner.counted is not None:
            return {"density": left / self.pruner.counted}
        return {"density": (whole + left) / sum(w.numel() for w in self.params.values())}
