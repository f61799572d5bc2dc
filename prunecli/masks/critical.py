"""The highest compression at which every layer still has a weight."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from prunecli.masks.mask import dead_layers, exact_count
from prunecli.masks.scopes import Scope, Shapes
from prunecli.masks.select import Tied
from prunecli.tensors.parts import in_memory

GRID = 1.01  # the step, as a ratio


def critical(
    pruned: Callable[[float], Tied], shapes: Shapes, allocate: Scope | None, rounds: int | None
) -> Tied:
    """The mask at the highest compression, on a grid of 1% steps, that empties no layer.

    The grid ends at one weight per layer, beyond which no method can go. What is ranked once over
    all layers, or anew in rounds, is searched by halving, which presumes that a method that empties
    a layer does so at higher compressions too. In rounds that need not be so.
    """
    total = sum(map(math.prod, shapes.values()))
    steps = math.floor(math.log(total / len(shapes), GRID))
    grid = [GRID**-step for step in range(steps + 1)] + [len(shapes) / total]
    if allocate is not None and rounds == 1:
        return _by_quotas(pruned, reversed(grid), shapes, allocate)
    fine, empty = 0, len(grid)
    best = None
    while empty - fine > 1:
        middle = (fine + empty) // 2
        if dead_layers(in_memory(kept := pruned(grid[middle]))):
            empty = middle
        else:
            fine, best = middle, kept
    return pruned(1.0) if best is None else best


def _by_quotas(
    pruned: Callable[[float], Tied], grid: Iterable[float], shapes: Shapes, allocate: Scope
) -> Tied:
    """The first mask on the grid that empties no layer, where layers have quotas.

    Of these layers, one may get none and, as still fewer weights are kept, one again.
    """
    room = {name: math.prod(shape) for name, shape in shapes.items()}
    total = sum(room.values())
    for density in grid:
        quotas = allocate(shapes, room, exact_count(density, total))
        if all(quotas.values()) and not dead_layers(in_memory(kept := pruned(density))):
            return kept
    return pruned(1.0)
