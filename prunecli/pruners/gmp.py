from __future__ import annotations

from typing import Literal

import torch

from prunecli.errors import BadUsage
from prunecli.network.untouched import untouched
from prunecli.pruners._masked import Masked
from prunecli.scorers._autograd import gradients
from prunecli.types import Batches, Clock, Course, Params, Pruner, planned


def check(epochs: int, *, beta: float, gamma: float, delta: int, fraction: float) -> None:
    if not (beta > 0 and gamma > 0):
        raise BadUsage(f"beta={beta:g}, gamma={gamma:g}: both thresholds must be above 0")
    if not 1 <= delta <= max(1, epochs):
        raise BadUsage(f"delta={delta}: it must be from 1 to the {epochs} epochs of training")
    if not 0 < fraction < 1:
        raise BadUsage(f"fraction={fraction:g}: it must leave images to train on and to hold out")


@planned(check)
def gmp(
    course: Course,
    *,
    beta: float = 0.05,
    gamma: float = 0.001,
    delta: int = 1,
    grad_source: Literal["held-out", "train"] = "held-out",
    fraction: float = 0.1,
) -> Pruner:
    """Gradient and magnitude pruning: remove weights with a small magnitude and a small gradient.

    At the end of every `delta`-th epoch, for every remaining weight:

        b <- 0 and w <- 0   where |w| < beta and |g| < gamma

    g is the gradient of the mean cross-entropy over a `fraction` of the training set that is held
    out of training (`grad_source=train`: a part of the same size that is trained on), in evaluation
    mode, without augmentation. Gradients of pruned weights are zero. There is no target density:
    the log records, per event, which fraction of the weights met each condition, and the density.

    Raises BadUsage for thresholds that are not above 0, a `delta` longer than the training, and a
    `fraction` that leaves no images to train on or to hold out.

    Source: Kaleab Belay, Gradient and Magnitude Based Pruning for Sparse Deep Neural Networks, AAAI
    2022, algorithm 1
    """
    data = course.hold_out(fraction, keep=grad_source == "train")
    return Gmp(course, data, beta, gamma, delta)


class Gmp(Masked):
    def __init__(
        self, course: Course, data: Batches, beta: float, gamma: float, delta: int
    ) -> None:
        super().__init__(course)
        self.model, self.data = course.model, data
        self.beta, self.gamma, self.delta = beta, gamma, delta
        self.event: dict[str, float] = {}

    def observe(self, params: Params, clock: Clock) -> None:
        self.freeze()

    def update(self, params: Params, clock: Clock) -> None:
        if not clock.epoch_ends:
            return
        self.event = {}
        if clock.epoch % self.delta == 0:
            with untouched(self.model):
                g = gradients(self.model.eval(), self.data, batches=None)
            self._prune(params, g)

    @torch.no_grad()
    def _prune(self, params: Params, g: Params) -> None:
        small = {name: params[name].abs() < self.beta for name in self.kept}
        settled = {name: g[name].abs() < self.gamma for name in self.kept}
        alive = self.aligned
        total = sum(int(a.sum()) for a in alive.values())
        self.event = {
            "below_beta": sum(int((alive[n] & small[n]).sum()) for n in alive) / max(1, total),
            "below_gamma": sum(int((alive[n] & settled[n]).sum()) for n in alive) / max(1, total),
        }
        self.keep({n: (alive[n] & ~(small[n] & settled[n])).cpu().contiguous() for n in alive})
        left = sum(int(kept.sum()) for kept in self.kept.values())
        self.event["pruned_now"] = total - left

    def facts(self) -> dict[str, float]:
        return self.event
