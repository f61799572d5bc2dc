"""N:M patterns: of every M consecutive weights, N are kept."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from prunecli.errors import BadUsage, Mismatch, NotFinite, some
from prunecli.files.artifacts import PRUNED
from prunecli.files.roles import ALL_OI, Layouts
from prunecli.masks.select import Ties
from prunecli.settings.mask import UNSTRUCTURED
from prunecli.tensors.parts import PART, Parted, whole

MOST = 64


def axis_of_inputs(name: str, layouts: Layouts) -> int:
    """The dimension of a weight that holds the inputs, if known."""
    return (layouts.get(name, "oi") or "oi").index("i")


@dataclass(frozen=True)
class Pattern:
    """A pattern that keeps `kept` of every `of` weights, along the inputs of a layer.

    That is where hardware multiplies 2:4 sparse matrices: a convolution's weight counts as the
    matrix [outputs, kernel * inputs], its inputs side by side. Which dimension of a weight that is,
    `roles.layout` tells.

    Source: Mishra et al., Accelerating Sparse Deep Neural Networks, 2021, arXiv 2104.08378
    """

    kept: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Pattern | None:
        """The pattern that 'N:M' names; None for `UNSTRUCTURED`. Raises BadUsage."""
        if text == UNSTRUCTURED:
            return None
        found = re.fullmatch(r"([1-9][0-9]?):([1-9][0-9]?)", text, re.ASCII)
        if found and int(found[1]) < int(found[2]) <= MOST:
            return cls(int(found[1]), int(found[2]))
        raise BadUsage(f"{text!r} is not N:M with 0 < N < M <= {MOST}, such as 2:4")

    def __str__(self) -> str:
        return f"{self.kept}:{self.of}"

    @property
    def density(self) -> float:
        return self.kept / self.of

    def check(self, shapes: Mapping[str, tuple[int, ...]], layouts: Layouts) -> None:
        """Raise Mismatch naming the tensors whose inputs do not come in groups of M."""
        if unknown := [name for name in shapes if layouts.get(name, "oi") is None]:
            raise Mismatch(
                f"the input dimension of {some(unknown)} is not known; exclude them with --ignore"
            )
        axes = {name: axis_of_inputs(name, layouts) for name in shapes}
        odd = [n for n, s in shapes.items() if len(s) <= axes[n] or s[axes[n]] % self.of]
        if odd:
            raise Mismatch(
                f"the inputs of {some(odd)} are not a multiple of {self.of}; "
                "exclude them with --ignore"
            )


class Patterned:
    """The mask that a pattern makes from scores, computed on each read; `parts.Parted`.

    Of equal scores, the earlier is kept. A score of -inf was pruned before and is never kept.
    """

    def __init__(self, scores: Parted, pattern: Pattern, layouts: Layouts = ALL_OI) -> None:
        pattern.check(scores.shapes, layouts)
        self.scores, self.pattern, self.layouts = scores, pattern, layouts
        self._ties: dict[str, Ties] = {}

    @property
    def ties(self) -> Ties:
        """The ties of the tensors that were read so far."""
        return Ties(*map(sum, zip(*self._ties.values(), strict=True)))

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return self.scores.shapes

    def parts(self, name: str, size: int = PART) -> Iterator[Tensor]:
        shape, axis = self.shapes[name], axis_of_inputs(name, self.layouts)
        self._ties[name] = Ties(0, 0, 0)
        if math.prod(shape[axis + 1 :]) == 1:  # the inputs lie side by side: no need for the whole
            step = math.lcm(size, self.pattern.of)
            for part in self.scores.parts(name, step):
                yield from torch.split(self._kept(name, part), size)
            return
        rows = whole(self.scores, name).movedim(axis, -1)
        kept = self._kept(name, rows.reshape(-1)).reshape(rows.shape).movedim(-1, axis)
        yield from torch.split(kept.reshape(-1), size)

    def _kept(self, name: str, scores: Tensor) -> Tensor:
        """The mask of flat scores.

        A score is kept if fewer than N of its group are higher, or equal and earlier.
        """
        groups = scores.float().reshape(-1, self.pattern.of)
        if not bool((groups < math.inf).all()):
            raise NotFinite(f"the scores of {name!r} hold NaN or infinity, so nothing was selected")
        columns = groups.t().contiguous()
        beaten = torch.zeros(columns.shape, dtype=torch.int8)
        for one, other in combinations(range(self.pattern.of), 2):
            first = columns[one] >= columns[other]
            beaten[other] += first
            beaten[one] += ~first
        kept = (beaten < self.pattern.kept) & (columns > PRUNED)
        self._ties[name] = _added(self._ties[name], columns, kept)
        return kept.t().reshape(-1)


def _added(ties: Ties, columns: Tensor, kept: Tensor) -> Ties:
    """The ties, with those added of groups of which each is a column."""
    equal = columns == torch.where(kept, columns, math.inf).amin(0)
    counted = (equal, equal & kept, columns > PRUNED)
    return Ties(*(old + int(new.count_nonzero()) for old, new in zip(ties, counted, strict=True)))
