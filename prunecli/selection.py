"""Exact selection: which weights a number of weights kept comes to.

Nothing is sorted. Scores are float32, and a float's bits, read as an integer, rise with its value
(after a flip for negatives). Two passes that count the upper and the lower 16 bits find the k-th
highest score exactly; a third builds the mask. Each pass reads one tensor at a time, so the same
code serves scores in memory and scores larger than it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from prunecli.errors import BadUsage, NotFinite
from prunecli.files.artifacts import PRUNED
from prunecli.masks import exact_count
from prunecli.types import Mask

Keys = np.ndarray[Any, np.dtype[np.uint32]]
Shapes = Mapping[str, tuple[int, ...]]
BINS = 1 << 16


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
    room = {name: int(np.count_nonzero(keys != _PRUNED_KEY)) for name, keys in _keys(scores)}
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


def keep_highest(scores: Mapping[str, Tensor], keep: int) -> Mask:
    """The `keep` highest scores over all tensors; ties by order. See `select`."""
    upper = np.zeros(BINS, dtype=np.int64)
    for _, keys in _keys(scores):
        upper += np.bincount(keys >> 16, minlength=BINS)
    high, above = _bin_of(upper, keep)
    lower = np.zeros(BINS, dtype=np.int64)
    for _, keys in _keys(scores):
        lower += np.bincount(keys[(keys >> 16) == high] & 0xFFFF, minlength=BINS)
    low, above_in_bin = _bin_of(lower, keep - above)
    threshold, ties = np.uint32(high << 16 | low), keep - above - above_in_bin
    mask: Mask = {}
    for name, keys in _keys(scores):
        kept = keys > threshold
        if ties:
            equal = np.flatnonzero(keys == threshold)[:ties]
            kept[equal] = True
            ties -= len(equal)
        mask[name] = torch.from_numpy(kept).reshape(scores[name].shape)
    return mask


def _keys(scores: Mapping[str, Tensor]) -> Iterator[tuple[str, Keys]]:
    """Scores as unsigned integers of the same order; +0.0 and -0.0 are one value."""
    for name, score in scores.items():
        flat = score.detach().cpu().reshape(-1).to(torch.float32)
        if bool((torch.isnan(flat) | (flat == math.inf)).any()):
            raise NotFinite(f"the scores of {name!r} hold NaN or infinity; nothing was selected")
        bits = (flat + 0.0).numpy().view(np.uint32)
        yield name, np.where(bits >> 31, ~bits, bits | np.uint32(0x80000000))


def _key_of(value: float) -> int:
    return int(next(_keys({"": torch.tensor([value])}))[1][0])


_PRUNED_KEY = _key_of(PRUNED)


def _bin_of(counts: np.ndarray[Any, np.dtype[np.int64]], keep: int) -> tuple[int, int]:
    """The bin that holds the keep-th highest item, and how many items lie above that bin."""
    above = np.cumsum(counts[::-1])[::-1] - counts
    bins = np.flatnonzero((above < max(keep, 1)) & (above + counts >= max(keep, 1)))
    place = int(bins[0]) if len(bins) else BINS - 1
    return place, int(above[place])


def apportion(shares: Mapping[str, float], room: Mapping[str, int], keep: int) -> dict[str, int]:
    """Whole numbers near `shares` that add up to exactly `keep`, each within its room.

    Largest remainders first (ties by order), as seats are apportioned to votes; what finds no room
    is spread over the rest. The rooms must add up to `keep` or more.
    """
    quota = {name: min(room[name], math.floor(share)) for name, share in shares.items()}
    by_remainder = sorted(shares, key=lambda name: quota[name] - shares[name])
    while missing := keep - sum(quota.values()):
        sign = 1 if missing > 0 else -1
        movable = [
            n for n in by_remainder[::sign] if (quota[n] < room[n] if sign > 0 else quota[n])
        ]
        each = max(1, abs(missing) // len(movable))
        for name in movable[: abs(missing)]:
            quota[name] += sign * min(each, room[name] - quota[name] if sign > 0 else quota[name])
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
    if room[first] > keep or not others:
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
    whole: set[str] = set()
    while True:
        thinned = [name for name in shapes if name not in whole]
        scale = (keep - sum(size[n] for n in whole)) / (sum(weight[n] for n in thinned) or 1.0)
        too_much = {name for name in thinned if scale * weight[name] > size[name]}
        if not too_much:
            break
        whole |= too_much
    shares = {n: float(size[n]) if n in whole else scale * weight[n] for n in shapes}
    return apportion(shares, room, keep)


Scope = Callable[[Shapes, Mapping[str, int], int], dict[str, int]]

SCOPES: dict[str, Scope | None] = {"global": None, "layer": layer, "uniform": uniform, "erk": erk}
"""How many weights each tensor keeps, by name: from the shapes, the weights that are still there
and the number to keep in all. `global` sets no quota: one ranking over all tensors."""
