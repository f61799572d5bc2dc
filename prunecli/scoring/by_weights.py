"""Scores by weights alone, of checkpoints that may be larger than memory, and of networks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import torch
from torch import Tensor

from prunecli.files.artifacts import pruned_before
from prunecli.plugins.plugin import Plugin
from prunecli.runtime.device import keep_freed_memory
from prunecli.runtime.machine import cores
from prunecli.scoring.checks import check_form, check_scores, check_weight
from prunecli.tensors.parts import PART, Parted, one_thread

REMEMBERED = 1 << 26
"""Scores, of 4 bytes each."""


class TensorScores:
    """What a tensor scorer makes of weights, made while it is read; see `parts.Parted`.

    `label` says whose weights they are. What an earlier mask removed counts as zero.

    A scorer that takes any part of a weight is given what is being read, so memory is bounded
    whatever the weight's size. Another one needs the weight whole; what it makes of the first 64
    million weights is made by all processors at once, and kept for the next reader.

    Raises NotFinite naming a tensor of weights or scores that hold NaN or infinity.
    """

    def __init__(
        self,
        weights: Parted,
        names: list[str],
        scorer: Plugin,
        seed: int,
        label: str,
        before: Parted | None = None,
    ) -> None:
        self.weights, self.before, self.label = weights, before, label
        self.scorer, self.seed = scorer, seed
        self.shapes = {name: weights.shapes[name] for name in names}
        self.by_part = scorer.takes_part

    def parts(self, name: str, size: int = PART) -> Iterator[Tensor]:
        if self.by_part:
            return map(self._scorer(name), self._weights(name, size))
        return iter(torch.split(self._whole(name).reshape(-1), size))

    def _weights(self, name: str, size: int) -> Iterator[Tensor]:
        """The weights in float32, with what the earlier mask removed zero. A masked NaN is gone.

        Who decides by what is exactly zero sees doubles as they are: some would become zero.
        """
        wide = self.scorer.decides
        given = self.weights.parts(name, size)
        for part in pruned_before(given, self.before, name, size, 0.0):
            weights = part if wide and part.itemsize > 4 else part.float()
            check_weight(name, weights, self.label, part)
            yield weights

    def _whole(self, name: str) -> Tensor:
        return self.remembered[name] if name in self.remembered else self._made(name)

    def _made(self, name: str) -> Tensor:
        weight = torch.cat(list(self._weights(name, PART))).reshape(self.shapes[name])
        return self._scorer(name)(weight)

    @cached_property
    def remembered(self) -> dict[str, Tensor]:
        names, room = [], REMEMBERED
        for name, shape in self.shapes.items():
            if (size := math.prod(shape)) <= room:
                names.append(name)
                room -= size
        keep_freed_memory()
        with one_thread(), ThreadPoolExecutor(cores()) as threads:
            return dict(zip(names, threads.map(self._made, names), strict=True))

    def _scorer(self, name: str) -> Callable[[Tensor], Tensor]:
        seeded = self.scorer.seeded(self.seed, name)

        def scored(weight: Tensor) -> Tensor:
            given = seeded(weight)
            check_form(given, weight.shape, name, self.scorer)
            scores: Tensor = given.float()
            check_scores({name: scores}, self.scorer, self.label)
            return scores

        return scored
