"""Training a sparse network that moves its weights: drop the smallest, grow others."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from prunecli.errors import BadUsage
from prunecli.files.artifacts import PRUNED
from prunecli.masks.select import keep_highest, select
from prunecli.pruners._masked import (
    Masked,
    check_density,
    check_interval,
    check_left,
    check_scope,
    first_layer,
    interval,
)
from prunecli.types import Clock, Course, Params

Growth = Callable[[str, Tensor, Clock], Tensor]
"""Gives how much each weight of a tensor wants to grow, from its name, dense gradient and the
time."""


class Dynamic(Masked):
    """A random sparse network that moves a fraction of each layer's weights every `every` steps.

    In a layer of K kept weights, the round(rate * K) of lowest magnitude are dropped, and as many
    grow where `growth` is highest. Pruned weights grow from zero, without momentum; weights dropped
    in the same step keep their value and momentum. The number of weights never changes.
    """

    def __init__(
        self,
        course: Course,
        growth: Growth,
        rate: Callable[[float], float],
        *,
        density: float,
        scope: str,
        every: int | None,
        until: float,
    ) -> None:
        check_left(density, course.params)
        super().__init__(course)
        self.growth, self.rate, self.every, self.until = growth, rate, every, until
        self.scope = scope
        self.keep(select(course.scorer("random")({}), density, scope, first_layer(course)))

    def observe(self, params: Params, clock: Clock) -> None:
        end = self.until * clock.steps_per_epoch * clock.epochs
        if clock.step % interval(self.every, int(end)) == 0 and clock.step < end:
            rate = self.rate(clock.step / end)
            self.keep({name: self._moved(name, params[name], rate, clock) for name in self.kept})
        self.freeze()

    @torch.no_grad()
    def _moved(self, name: str, weight: Tensor, rate: float, clock: Clock) -> Tensor:
        alive = int(self.kept[name].sum())
        moving = min(round(rate * alive), weight.numel() - alive)
        if weight.grad is None or not moving:
            return self.kept[name]
        size = weight.abs().masked_fill(~self.aligned[name], PRUNED)
        strong = keep_highest({name: size}, alive - moving)[name]
        wish = self.growth(name, weight.grad, clock).to(size)
        return strong | keep_highest({name: wish.masked_fill(strong, PRUNED)}, moving)[name]


def check(
    epochs: int, *, density: float, scope: str, rate: float, every: int | None, until: float
) -> None:
    check_density(density)
    check_scope(scope)
    check_interval(every)
    for name, value in (("until", until), ("rate", rate)):
        if not 0 <= value <= 1:
            raise BadUsage(f"{name}={value:g}: it must be from 0 to 1")


def cosine(rate: float) -> Callable[[float], float]:
    """A decay from `rate` to zero along half a cosine, by the fraction of time that has passed."""
    return lambda passed: rate / 2 * (1 + math.cos(math.pi * passed))
