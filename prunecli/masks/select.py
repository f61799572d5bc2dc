"""Exact selection of the weights to keep.

On a CPU nothing is sorted. Floats rank as the bits that they are made of do, so the scores are
counted by the upper half of their bits; that says in which of these 65,536 bins the k-th highest
lies, and counting that bin by the lower half says where. A pass each, over one part of a tensor at
a time: the same code serves scores in memory and scores larger than it. Scores that come from
bfloat16 have nothing in their lower halves, and need one pass.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prunecli.errors import BadUsage
from prunecli.files.artifacts import PRUNED
from prunecli.masks.mask import exact_count
from prunecli.masks.scopes import allocation
from prunecli.masks.select_on_gpu import not_finite, sorted_out
from prunecli.tensors.parts import PART, Parted, in_memory, one_thread, parted
from prunecli.types import Mask

HALF = 1 << 16
INFINITE = 0x7F80
"""The upper half of infinity; those of NaN and of negative numbers are higher."""
Counts = NDArray[np.int64]


def select(
    scores: Parted | Mapping[str, Tensor],
    density: float,
    scope: str = "global",
    dense: Collection[str] | None = None,
) -> Mask:
    """The mask of `choose`, in memory."""
    return in_memory(choose(parted(scores), density, scope, dense))


@one_thread()
def choose(
    scores: Parted, density: float, scope: str = "global", dense: Collection[str] | None = None
) -> Chosen:
    """Keep exactly round(density * n) of the n scored weights: the highest scores.

    Of equal scores, the earlier tensor or position wins. Weights scored -inf were pruned
    before and are never kept. `scope` says how many each tensor keeps; see `allocation`.

    Raises NotFinite for NaN or +inf, and BadUsage if fewer weights are left than are to be kept.
    """
    shapes = scores.shapes
    total = sum(map(math.prod, shapes.values()))
    keep = exact_count(density, total)
    if keep == 0:
        raise BadUsage(f"a density of {density:g} keeps none of the {total:,} weights; raise it")
    ranking = _Ranking(scores)
    room = ranking.room()
    if keep > (there := sum(room.values())):
        raise BadUsage(
            f"{keep:,} of {total:,} weights should be kept, but an earlier mask keeps only "
            f"{there:,}; set a lower density"
        )
    allocate = allocation(scope, dense)
    if allocate is None:
        return Chosen(scores, ranking.highest(list(shapes), keep), there)
    cuts: dict[str, Cut] = {}
    for name, quota in allocate(shapes, room, keep).items():
        cuts |= ranking.highest([name], quota)
    return Chosen(scores, cuts, there)


@one_thread()
def keep_highest(scores: Mapping[str, Tensor], keep: int) -> Mask:
    """The `keep` highest scores over all tensors; ties by order. See `choose`.

    Of scores on a GPU, so is the mask. Raises NotFinite for NaN or +inf.
    """
    if any(each.device.type != "cpu" for each in scores.values()):
        return sorted_out(scores, keep)
    ranked = parted(scores)
    ranking = _Ranking(ranked)
    cuts = ranking.highest(list(scores), keep)
    return in_memory(Chosen(ranked, cuts, sum(ranking.room().values())))


@dataclass(frozen=True)
class Cut:
    """What a tensor keeps: all above the threshold, and the first `ties` of the `equal` ones."""

    threshold: float
    ties: int
    equal: int
    kept: int
    """The number of weights that are kept in all."""


class Ties(NamedTuple):
    """Ties: of equal scores at the threshold, some were kept only for their position."""

    equal: int
    """How many equal the lowest that is kept, of all or of their layer or group."""
    kept: int
    """How many of these were kept."""
    scores: int
    """How many there were to choose among."""

    @property
    def left_out(self) -> int:
        return self.equal - self.kept

    @property
    def are_all(self) -> bool:
        """Whether no weight was selected by its score."""
        return self.left_out > 0 and self.equal == self.scores


class Tied(Parted, Protocol):
    """A mask that knows its ties once it has been read."""

    @property
    def ties(self) -> Ties: ...


class Chosen:
    """The mask that thresholds make from scores, computed on each read; see `parts.Parted`.

    `there` scores have not been pruned before.
    """

    def __init__(self, scores: Parted, cuts: Mapping[str, Cut], there: int) -> None:
        self.scores, self.cuts = scores, cuts
        equal = sum(cut.equal for cut in cuts.values())
        self.ties = Ties(equal, sum(cut.ties for cut in cuts.values()), there)

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return self.scores.shapes

    def parts(self, name: str, size: int = PART) -> Iterator[Tensor]:
        cut = self.cuts[name]
        left = cut.ties
        for part in self.scores.parts(name, size):
            flat = part.float()
            if cut.ties == cut.equal:  # as in all tensors but one
                yield flat >= cut.threshold
                continue
            kept = flat > cut.threshold
            if left:
                equal = (flat == cut.threshold).nonzero()[:left, 0]
                kept[equal] = True
                left -= len(equal)
            yield kept


class Positive:
    """The mask of scores above 0, computed on each read; see `parts.Parted`.

    Nothing competes, so there are no ties.
    """

    ties = Ties(0, 0, 0)

    def __init__(self, scores: Parted) -> None:
        self.scores = scores

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return self.scores.shapes

    def parts(self, name: str, size: int = PART) -> Iterator[Tensor]:
        for part in self.scores.parts(name, size):
            yield part > 0


class _Ranking:
    """Counts of the upper halves of each tensor's scores. It takes a pass over them to make."""

    def __init__(self, scores: Parted) -> None:
        self.scores = scores
        self.lower_halves = False
        """Whether any lower half is not zero."""
        self.upper = {name: self._by_upper_half(name) for name in scores.shapes}

    def room(self) -> dict[str, int]:
        """How many weights of each tensor have not been pruned yet."""
        pruned = int(FALLING[_bits(torch.tensor([PRUNED]))[0] // HALF])
        return {name: counts.before(pruned) for name, counts in self.upper.items()}

    def highest(self, names: list[str], keep: int) -> dict[str, Cut]:
        """The cuts that keep the `keep` highest of all that these tensors hold."""
        if not keep:
            return {name: Cut(math.inf, 0, 0, 0) for name in names}
        upper, rank = _kth([self.upper[name] for name in names], keep)
        half = int(FALLING[upper])
        within = {name: self._within(name, half) for name in names}
        lower, ties = _kth(list(within.values()), rank)
        threshold = _float(half, lower)
        cuts = {}
        for name in names:
            equal = within[name].at(lower)
            own = min(ties, equal)
            ties -= own
            above = self.upper[name].before(upper) + within[name].before(lower)
            cuts[name] = Cut(threshold, own, equal, above + own)
        return cuts

    def _by_upper_half(self, name: str) -> _Counts:
        counts = np.zeros(HALF, np.int64)
        for part in self.scores.parts(name):
            bits = _bits(part)
            found = _count(bits >> 16, counts)
            if found > INFINITE and not part.max() < math.inf:  # NaN if anything is
                raise not_finite(name)
            if np.bitwise_or.reduce(bits) % HALF:
                self.lower_halves = True
        return _Counts(counts, FALLING)

    def _within(self, name: str, half: int) -> _Counts:
        """Counts of the lower halves of the scores that have this upper half."""
        counts = np.zeros(HALF, np.int64)
        there = self.upper[name].at(int(FALLING[half]))
        if there and self.lower_halves:
            for part in self.scores.parts(name):
                bits = _bits(part)
                _count(bits[bits >> 16 == half] % HALF, counts)
        else:
            counts[0] = there
        return _Counts(counts, _falling_within(half))


class _Counts:
    """Counts of the halves that occur, by their place in the falling order of the floats."""

    def __init__(self, counts: Counts, place: Counts) -> None:
        halves = counts.nonzero()[0]
        falling = halves[place[halves].argsort()]
        self.places, self.counts = place[falling], counts[falling]
        self.up_to = self.counts.cumsum()

    def before(self, place: int) -> int:
        """The number of those that come before a place."""
        found = int(self.places.searchsorted(place))
        return int(self.up_to[found - 1]) if found else 0

    def at(self, place: int) -> int:
        return self.before(place + 1) - self.before(place)


def _count(halves: NDArray[Any], counts: Counts) -> int:
    """Add to the counts; gives one more than the highest half."""
    found = torch.bincount(torch.from_numpy(halves.view(np.int32))).numpy()
    counts[: len(found)] += found
    return len(found)


def _kth(all_counts: list[_Counts], rank: int) -> tuple[int, int]:
    """The place of the rank-th highest of all together, and its rank among those of that place."""
    falling = np.zeros(HALF, np.int64)
    for counts in all_counts:
        falling[counts.places] += counts.counts
    up_to = falling.cumsum()
    place = int(up_to.searchsorted(rank))
    return place, rank - int(up_to[place - 1] if place else 0)


def _bits(scores: Tensor) -> NDArray[np.uint32]:
    """The bits of the float32 values. Adding zero leaves -0.0 without its sign."""
    return (scores.float() + 0.0).numpy().view(np.uint32)


FALLING = np.concatenate([np.arange(HALF // 2)[::-1], np.arange(HALF // 2, HALF)])
"""The upper halves, from that of the highest float down: negative ones fall as their bits rise.

It is its own inverse: also the place of each upper half in this order.
"""


def _falling_within(half: int) -> Counts:
    """The lower halves from that of the highest float down, where this is the upper half."""
    return np.arange(HALF)[:: 1 if half >= HALF // 2 else -1]


def _float(half: int, place: int) -> float:
    bits = half * HALF + int(_falling_within(half)[place])
    return float(np.array([bits], np.uint32).view(np.float32)[0])
