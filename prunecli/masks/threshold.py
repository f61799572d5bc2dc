"""Pruning by a threshold on the magnitude of scores, for comparison with codes that do so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from prunecli.files.artifacts import PRUNED
from prunecli.masks.select import Chosen, Ties
from prunecli.tensors.parts import PART, Parted


class Threshold:
    """The mask that prunes what scores strictly between -t and t; see `parts.Parted`.

    t is the lowest score that exact selection keeps, over all tensors or in each. So all equal to
    it stay, and so does what lies as far below zero: of scores symmetric about zero, twice as many
    as were asked for, and all of them from a density of 1/2 on, where t is not above zero. Of
    scores that are not negative, and of which none is equal to t, exactly as many. What scores
    -inf was pruned before and is never kept.

    Source: Blalock et al., What is the State of Neural Network Pruning?, MLSys 2020: `quantile` and
    `threshold_mask` in the authors' ShrinkBench, where all scores are magnitudes
    """

    ties = Ties(0, 0, 0)
    """None: no place decides."""

    def __init__(self, exact: Chosen) -> None:
        self.scores: Parted = exact.scores
        self.thresholds = {name: cut.threshold for name, cut in exact.cuts.items()}

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return self.scores.shapes

    def parts(self, name: str, size: int = PART) -> Iterator[Tensor]:
        t = self.thresholds[name]
        for part in self.scores.parts(name, size):
            flat = part.float()
            yield ((flat >= t) | (flat <= -t)) & (flat > PRUNED)
