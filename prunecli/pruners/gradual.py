from __future__ import annotations

from prunecli.errors import BadUsage
from prunecli.masks.select import select
from prunecli.plugins.names import check_name
from prunecli.pruners._masked import (
    Masked,
    check_density,
    check_interval,
    check_left,
    check_scope,
    first_layer,
    interval,
)
from prunecli.types import Clock, Course, Params, Pruner, planned


def check(
    epochs: int,
    *,
    density: float,
    method: str,
    scope: str,
    start: float,
    end: float | None,
    every: int | None,
) -> None:
    check_density(density)
    check_name("scorers", method)
    check_scope(scope)
    check_interval(every)
    span(epochs, start, end)


def span(epochs: int, start: float, end: float | None) -> tuple[float, float]:
    """The epochs at which pruning starts and ends; see `gradual`."""
    last = 0.75 * epochs if end is None else end
    if not 0 <= start < last <= epochs:
        raise BadUsage(
            f"gradual pruning from epoch {start:g} to {last:g} does not fit into {epochs} epochs"
        )
    return start, last


@planned(check)
def gradual(
    course: Course,
    *,
    density: float,
    method: str = "magnitude",
    scope: str = "global",
    start: float = 0.0,
    end: float | None = None,
    every: int | None = None,
) -> Pruner:
    """Gradual pruning: sparsity rises along a cubic, fast at first and then more slowly.

        s_t = s_f (1 - (1 - (t - t_0) / (t_1 - t_0))^3),   s_f = 1 - density

    From epoch `start` to epoch `end` (default: three quarters of the training; both can be
    fractions), the lowest scores are pruned every `every` steps (default: 100, or a twentieth of
    that time), and s_f is reached exactly at t_1 = `end`. `method` is any scorer; it scores again
    each time. Pruned weights do not come back.

    Raises BadUsage for a schedule that does not end within the training.

    Source: Zhu & Gupta, To prune, or not to prune, arXiv 1710.01878, eq. 1
    """
    check_left(density, course.params)
    return Gradual(course, density, method, scope, span(course.epochs, start, end), every)


class Gradual(Masked):
    def __init__(
        self,
        course: Course,
        density: float,
        method: str,
        scope: str,
        epochs: tuple[float, float],
        every: int | None,
    ) -> None:
        super().__init__(course)
        self.score, self.density, self.scope = course.scorer(method), density, scope
        self.epochs, self.every = epochs, every
        self.dense = first_layer(course)

    def update(self, params: Params, clock: Clock) -> None:
        start, end = (round(epoch * clock.steps_per_epoch) for epoch in self.epochs)
        end = max(end, 1)
        start = min(start, end - 1)  # at least the step in which the density is reached
        if not start < clock.step <= end:
            return
        if (clock.step - start) % interval(self.every, end - start) and clock.step != end:
            return
        passed = (clock.step - start) / (end - start)
        sparsity = (1 - self.density) * (1 - (1 - passed) ** 3)
        target = self.density if clock.step == end else 1 - sparsity
        self.keep(select(self.left(self.score(self.kept)), target, self.scope, self.dense))
