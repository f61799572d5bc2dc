from __future__ import annotations

from prunecli.pruners._dynamic import Dynamic, check, cosine
from prunecli.types import Course, Pruner, planned


@planned(check)
def rigl(
    course: Course,
    *,
    density: float,
    scope: str = "erk",
    rate: float = 0.3,
    every: int | None = None,
    until: float = 0.75,
) -> Pruner:
    """Rigging the lottery: drop the smallest weights, grow those with the largest gradient.

    A random network of `density`, distributed over layers by `scope`, is sparse from the start. For
    the fraction `until` of the training, every `every` steps (default: 100, or a twentieth of that
    time), each layer drops the fraction

        f(t) = rate / 2 (1 + cos(pi t / T))

    of its weights, those with the lowest |w|, and grows as many where |dL/dw| is highest.

    Source: Evci et al., Rigging the Lottery, ICML 2020, arXiv 1911.11134, algorithm 1
    """
    return Dynamic(
        course,
        lambda name, gradient, clock: gradient.abs(),
        cosine(rate),
        density=density,
        scope=scope,
        every=every,
        until=until,
    )
