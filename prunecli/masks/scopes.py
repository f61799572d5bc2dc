"""Quotas: how many of the weights to keep each tensor gets."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from functools import partial

Shapes = Mapping[str, tuple[int, ...]]


def apportion(
    shares: Mapping[str, float], room: Mapping[str, int], keep: int, least: int = 0
) -> dict[str, int]:
    """Whole numbers near `shares` that add up to exactly `keep`, each within its room.

    Largest remainders first (ties by order), as seats are apportioned to votes; what finds no room
    is distributed over the rest. The rooms must add up to at least `keep`. None is below `least` if
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


def uniform(
    shapes: Shapes, room: Mapping[str, int], keep: int, dense: Collection[str] | None = None
) -> dict[str, int]:
    """All of the `dense` tensors, by default the first one; the same fraction of every other.

    If they have more weights than `keep`, or there are no others, it equals `layer`.

    Source: Evci et al., Rigging the Lottery, ICML 2020, arXiv 1911.11134, section 3 ("Uniform")
    """
    whole = [name for name in shapes if name in dense] if dense is not None else [*shapes][:1]
    others = {name: shape for name, shape in shapes.items() if name not in whole}
    if sum(math.prod(shapes[name]) for name in whole) > keep or not others:
        return layer(shapes, room, keep)
    rest = layer(others, room, keep - sum(room[name] for name in whole))
    return {name: room[name] if name in whole else rest[name] for name in shapes}


def erk(shapes: Shapes, room: Mapping[str, int], keep: int) -> dict[str, int]:
    """Erdos-Renyi-kernel: wide layers get a lower density.

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


def allocation(scope: str, dense: Collection[str] | None = None) -> Scope | None:
    """The scope of that name; under `uniform`, the `dense` tensors stay whole in the first's place.

    The first tensor is the first layer only where the tensors come in the network's order.
    """
    return partial(uniform, dense=dense) if scope == "uniform" else SCOPES[scope]
