"""Scores by weights alone, of checkpoints that may be larger than memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from prunecli.errors import Mismatch, NotFinite
from prunecli.files.artifacts import pruned_before
from prunecli.files.tensors import TensorFile
from prunecli.plugins import registry
from prunecli.runtime.device import keep_freed_memory
from prunecli.runtime.machine import cores
from prunecli.tensors.finite import all_finite
from prunecli.tensors.parts import PART, Parted, one_thread
from prunecli.types import form

REMEMBERED = 1 << 26
"""Scores, of 4 bytes each."""


class TensorScores:
    """What a tensor scorer makes of weights, made while it is read; see `parts.Parted`.

    A scorer that takes any part of a weight is given what is being read, so memory is bounded
    whatever the weight's size. Another one needs the weight whole; what it makes of the first 64
    million weights is made by all processors at once, and kept for the next reader.

    Raises NotFinite naming a tensor of weights or scores that hold NaN or infinity.
    """

    def __init__(
        self,
        file: TensorFile,
        names: list[str],
        scorer: Callable[..., Tensor],
        options: Callable[[str], Mapping[str, Any]],
        before: Parted | None = None,
    ) -> None:
        self.file, self.scorer, self.options, self.before = file, scorer, options, before
        self.shapes = {name: file.shapes[name] for name in names}
        self.by_part = registry.takes_part(scorer)

    def parts(self, name: str, size: int = PART) -> Iterator[Tensor]:
        scores: Iterator[Tensor]
        if self.by_part:
            scores = map(self._scorer(name), self._weights(name, size))
        else:
            scores = iter(torch.split(self._whole(name).reshape(-1), size))
        return pruned_before(scores, self.before, name, size)

    def _weights(self, name: str, size: int) -> Iterator[Tensor]:
        """In float32, with what the earlier mask removed zero. A masked NaN is gone.

        Who decides by what is exactly zero sees doubles as they are: some would become zero.
        """
        wide = registry.decides(self.scorer)
        given = self.file.parts(name, size)
        for part in pruned_before(given, self.before, name, size, 0.0):
            weights = part if wide and part.itemsize > 4 else part.float()
            if not all_finite(weights):
                what = "values beyond the range of float32, in which weights are scored"
                what = what if all_finite(part) else "NaN or infinity"
                raise NotFinite(f"{self.file.label}: {name!r} holds {what}; it cannot be scored")
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
        options = self.options(name)

        def scored(weight: Tensor) -> Tensor:
            scores = self.scorer(weight, **options)
            check_form(scores, weight.shape, name, self.scorer)
            scores = scores.float()
            if not all_finite(scores):
                raise NotFinite(
                    f"{self.scorer.__name__}: the scores of {name!r} hold NaN or infinity; "
                    f"check {self.file.label} with 'inspect'"
                )
            return scores

        return scored


def check_form(score: Any, shape: torch.Size, name: str, scorer: Callable[..., Any]) -> None:
    """Raise Mismatch unless a scorer, maybe somebody's own, gave a score for each weight."""
    if not isinstance(score, Tensor) or score.shape != shape or score.is_complex():
        method = getattr(scorer, "func", scorer)
        raise Mismatch(
            f"the method {getattr(method, '__name__', method)!r} gives scores of {name!r} that are "
            f"{form(score)}, and not real numbers {list(shape)}"
        )
