"""What the values of a checkpoint's tensors show: exact zeros, N:M patterns, NaN and infinity."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunecli.files.tensors import DTYPES, TensorFile
from prunecli.masks.patterns import Pattern
from prunecli.tensors.finite import all_finite
from prunecli.tensors.parts import PART
from prunecli.tensors.zeros import SIGNED, UNSIGNED, magnitudes

GROUPS = (2, 4, 8, 16, 32)
"""The M of patterns that are looked for."""
LONGEST = 1 << 22
"""Values for one output of a layer, for which its pattern is looked for: they are read together."""


def values_of(file: TensorFile, name: str, layout: str | None = "oi") -> dict[str, Any]:
    """How many values are zero, of either sign; the tightest N:M that holds; if all are finite.

    None for what cannot be told: of a type that has no zero or that torch does not have, or of
    tensors that no pattern is of. `layout` says where inputs lie; see `roles.layout`.
    """
    entry = file.entry(name)
    if DTYPES.get(entry.dtype) not in SIGNED | UNSIGNED:
        return {"zeros": None, "pattern": None, "finite": None}
    groups = _Groups(entry.shape, (layout or "").find("i"))
    zeros, finite = 0, True
    for part in file.parts(name, groups.step):
        finite = finite and all_finite(part)
        left = magnitudes(part)
        found = left.size - int(np.count_nonzero(left))
        zeros += found
        groups.see(left, found)
    return {"zeros": zeros, "pattern": groups.tightest(), "finite": finite}


class _Groups:
    """How many weights are left at most in any group of M, along the inputs; see `Pattern`."""

    def __init__(self, shape: tuple[int, ...], axis: int) -> None:
        known = 0 <= axis < len(shape) > 1
        self.inputs, self.window = (shape[axis], math.prod(shape[axis + 1 :])) if known else (0, 1)
        row = self.inputs * self.window
        together = 0 < row <= LONGEST
        groups = [m for m in GROUPS if together and not self.inputs % m]
        self.most = dict.fromkeys(groups, 0)
        """The most weights of any group, by M. What is full somewhere is no pattern, and not looked
        at any further."""
        self.step = PART if self.window == 1 or not groups else row * max(1, PART // row)
        """Values that are read at once, whole groups."""

    def see(self, left: NDArray[np.generic], zeros: int) -> None:
        if not zeros:
            self.most = {}
        if not self.most:
            return
        counts = (left != 0).view(np.uint8)
        if self.window > 1:
            counts = counts.reshape(-1, self.inputs, self.window).swapaxes(1, 2).reshape(-1)
        for of in GROUPS[: GROUPS.index(max(self.most)) + 1]:
            counts = counts[::2] + counts[1::2]
            if of in self.most:
                self.most[of] = max(self.most[of], int(counts.max(initial=0)))
        self.most = {of: most for of, most in self.most.items() if most <= of // 2}

    def tightest(self) -> str | None:
        """The tightest pattern that leaves half at most, and something."""
        found = [Pattern(most, of) for of, most in self.most.items() if most]
        return str(min(found, key=lambda p: (p.density, p.of))) if found else None
