"""Exact selection: which weights a number of weights kept comes to.

Nothing is sorted. A random sample of the scores brackets the k-th highest, one pass counts what
lies above the bracket and gathers the few per cent inside it, where the k-th highest is then found
exactly; another pass builds the mask. The sample decides only how much is gathered, never what is
selected. Each pass reads one tensor at a time, so the same code serves scores in memory and scores
larger than it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from prunecli.errors import BadUsage, NotFinite
from prunecli.files.artifacts import PRUNED
from prunecli.masks import exact_count
from prunecli.types import Mask

Shapes = Mapping[str, tuple[int, ...]]
SAMPLE = 1 << 16


def select(scores: Mapping[str, Tensor], density: float, scope: str = "global") -> Mask:
    """Keep exactly round(density * n) of the n scored weights: the highest scores.

    Ties go to the earlier tensor, then to the earlier place in it. Weights scored -inf were pruned
    before and are never kept. `scope` says how many each tensor keeps; see `SCOPES`.

    Raises NotFinite for NaN or +inf, and BadUsage if fewer weights are left than are to be kept.
    """
    shapes = {name: tuple(scores[name].shape) for name in scores}
    total = sum(map(math.prod, shapes.values()))
    keep = exact_count(density, total)
    if keep == 0:
        raise BadUsage(f"a density of {density:g} keeps none of the {total:,} weights; raise it")
    room = {name: _room(name, flat) for name, flat in _flat(scores)}
    if keep > sum(room.values()):
        raise BadUsage(
            f"{keep:,} of {total:,} weights are to be kept, but an earlier mask left only "
            f"{sum(room.values()):,}; ask for a lower density"
        )
    allocate = SCOPES[scope]
    if allocate is None:
        return keep_highest(scores, keep)
    mask: Mask = {}
    for name, quota in allocate(shapes, room, keep).items():
        mask |= keep_highest({name: scores[name]}, quota)
    return mask


def _room(name: str, flat: Tensor) -> int:
    """How many weights have not been pruned yet. Raises NotFinite for NaN and +inf."""
    _check(name, flat)
    return int((flat > PRUNED).count_nonzero())


def _check(name: str, flat: Tensor) -> None:
    if flat.numel() and not flat.max() < math.inf:  # the maximum is NaN if anything is
        raise NotFinite(f"the scores of {name!r} hold NaN or infinity; nothing was selected")


def _flat(scores: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for name, score in scores.items():
        yield name, score.detach().cpu().reshape(-1).to(torch.float32)


def keep_highest(scores: Mapping[str, Tensor], keep: int) -> Mask:
    """The `keep` highest scores over all tensors; ties by order. See `select`.

    Raises NotFinite for NaN or +inf.
    """
    for name, flat in _flat(scores):
        _check(name, flat)
    threshold, ties = _threshold(scores, keep) if keep else (math.inf, 0)
    mask: Mask = {}
    for name, flat in _flat(scores):
        kept = flat > threshold
        if ties:
            equal = (flat == threshold).nonzero()[:ties, 0]
            kept[equal] = True
            ties -= len(equal)
        mask[name] = kept.reshape(scores[name].shape)
    return mask


def _threshold(scores: Mapping[str, Tensor], keep: int) -> tuple[float, int]:
    """The keep-th highest score, and how many of those that equal it are kept.

    Falling, the scores are: those above `high`, those at it, those inside, those at `low`, and the
    rest. Where the keep-th is outside the bracket, the bracket moves to the side where it is.
    """
    low, high = _bracket(scores, keep)
    while True:
        above = at_high = at_low = 0
        parts = []
        for _, flat in _flat(scores):
            above += int((flat > high).count_nonzero())
            at_high += int((flat == high).count_nonzero())
            if low < high:
                at_low += int((flat == low).count_nonzero())
                parts.append(flat[(flat > low) & (flat < high)])
        inside = torch.cat(parts) if parts else torch.empty(0)
        rank = keep - above
        if rank <= 0:
            low, high = high, math.inf
        elif rank <= at_high:
            return high, rank
        elif (rank := rank - at_high) <= len(inside):
            value = inside.kthvalue(len(inside) - rank + 1).values
            return float(value), rank - int((inside > value).count_nonzero())
        elif (rank := rank - len(inside)) <= at_low:
            return low, rank
        else:
            low, high = -math.inf, low


def _bracket(scores: Mapping[str, Tensor], keep: int) -> tuple[float, float]:
    """Two values between which the keep-th highest score lies, very likely."""
    total = sum(math.prod(scores[name].shape) for name in scores)
    if total <= SAMPLE:
        return -math.inf, math.inf
    draw = torch.Generator().manual_seed(0)
    sample = torch.cat(
        [
            flat[torch.randint(flat.numel(), (-(-flat.numel() * SAMPLE // total),), generator=draw)]
            for _, flat in _flat(scores)
            if flat.numel()
        ]
    )
    falling = sample.sort(descending=True).values
    middle, margin = len(falling) * keep // total, 3 * math.isqrt(len(falling))
    high = float(falling[middle - margin]) if middle >= margin else math.inf
    low = float(falling[middle + margin]) if middle + margin < len(falling) else -math.inf
    return low, high


def apportion(
    shares: Mapping[str, float], room: Mapping[str, int], keep: int, least: int = 0
) -> dict[str, int]:
    """Whole numbers near `shares` that add up to exactly `keep`, each within its room.

    Largest remainders first (ties by order), as seats are apportioned to votes; what finds no room
    is spread over the rest. The rooms must add up to `keep` or more. None is below `least`, where
    there is room and `keep` suffices.
    """
    least = min(least, keep // max(1, len(shares)))
    quota = {n: min(room[n], max(least, math.floor(share))) for n, share in shares.items()}
    by_remainder = sorted(shares, key=lambda name: quota[name] - shares[name])
    while missing := keep - sum(quota.values()):
        sign = 1 if missing > 0 else -1
        limit = room if sign > 0 else dict.fromkeys(room, least)
        movable = [n for n in by_remainder[::sign] if sign * (limit[n] - quota[n]) > 0]
        each = max(1, abs(missing) // len(movable))
        for name in movable[: abs(missing)]:
            quota[name] += sign * min(each, abs(limit[name] - quota[name]))
    return quota


def layer(shapes: Shapes, room: Mapping[str, int], keep: int) -> dict[str, int]:
    """The same fraction of every tensor."""
    size = {name: math.prod(shape) for name, shape in shapes.items()}
    total = sum(size.values())
    return apportion({name: keep * n / total for name, n in size.items()}, room, keep)


def uniform(shapes: Shapes, room: Mapping[str, int], keep: int) -> dict[str, int]:
    """The first tensor whole, the same fraction of every other.

    Source: Evci et al., Rigging the Lottery, ICML 2020, arXiv 1911.11134, section 3 ("Uniform")
    """
    first, *others = shapes
    if math.prod(shapes[first]) > keep or not others:
        return layer(shapes, room, keep)
    rest = layer({name: shapes[name] for name in others}, room, keep - room[first])
    return {first: room[first]} | rest


def erk(shapes: Shapes, room: Mapping[str, int], keep: int) -> dict[str, int]:
    """Erdos-Renyi-kernel: wide layers are thinned more.

    The density of a tensor of shape [n_out, n_in, *kernel] is proportional to
    (n_out + n_in + sum kernel) / (n_out * n_in * prod kernel), capped at 1.

    Source: Evci et al., Rigging the Lottery, ICML 2020, arXiv 1911.11134, section 3
    """
    size = {name: math.prod(shape) for name, shape in shapes.items()}
    weight = {name: float(sum(shape)) for name, shape in shapes.items()}
    return apportion(water_filled(weight, size, keep), room, keep)


def water_filled(
    weight: Mapping[str, float], size: Mapping[str, int], keep: int
) -> dict[str, float]:
    """min(size, c * weight) of each, with c such that they add up to `keep`."""
    whole: set[str] = set()
    while True:
        thinned = [name for name in size if name not in whole]
        scale = (keep - sum(size[n] for n in whole)) / (sum(weight[n] for n in thinned) or 1.0)
        too_much = {name for name in thinned if scale * weight[name] > size[name]}
        if not too_much:
            break
        whole |= too_much
    return {n: float(size[n]) if n in whole else scale * weight[n] for n in size}


Scope = Callable[[Shapes, Mapping[str, int], int], dict[str, int]]

SCOPES: dict[str, Scope | None] = {"global": None, "layer": layer, "uniform": uniform, "erk": erk}
"""How many weights each tensor keeps, by name: from the shapes, the weights that are still there
and the number to keep in all. `global` sets no quota: one ranking over all tensors."""
