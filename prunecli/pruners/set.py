from __future__ import annotations

import torch
from torch import Tensor

from prunecli.pruners._dynamic import Dynamic, check
from prunecli.runtime.seeds import derive_seed
from prunecli.types import Clock, Course, Pruner, planned


@planned(check)
def set(
    course: Course,
    *,
    density: float,
    scope: str = "erk",
    rate: float = 0.3,
    every: int | None = None,
    until: float = 1.0,
) -> Pruner:
    """Sparse evolutionary training: drop the smallest weights, grow others at random.

    Like `rigl`, but each layer drops the same fraction `rate` every time, and as many weights grow
    at random positions.

    Source: Mocanu et al., Scalable training of artificial neural networks with adaptive sparse
    connectivity, Nature Communications 9, 2018, algorithm 1 (with magnitude in place of sign)
    """

    def anywhere(name: str, gradient: Tensor, clock: Clock) -> Tensor:
        draw = torch.Generator().manual_seed(derive_seed(course.seed, "set", name, clock.step))
        return torch.rand(gradient.shape, generator=draw)

    return Dynamic(
        course,
        anywhere,
        lambda passed: rate,
        density=density,
        scope=scope,
        every=every,
        until=until,
    )
