"""Straight-through pruning: all weights train, the forward pass uses those above a threshold."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F

from prunecli.errors import BadUsage
from prunecli.network.layers import prunable
from prunecli.tensors.histogram import Histogram, histogram
from prunecli.types import Clock, Course, Mask, Params, Pruner


class Thresholded(Function):
    """w~ = w where |w| >= t, else 0, with straight-through gradients.

        dL/dw = dL/dw~              for all weights (not straight: only for those above t)
        dL/dt = sum over pruned of (w~ - w)/t * dL/dw~                      (not straight: 0)

    Source: adaptive sparsity loss, eqs. 1, 16 and 18 (with t = b sigma)
    """

    @staticmethod
    def forward(ctx: Any, w: Tensor, t: Tensor, straight: bool) -> Tensor:
        used = shrunk(w, t)
        ctx.straight = straight
        if not straight or ctx.needs_input_grad[1]:
            ctx.save_for_backward(w, used, t)
        return used

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, None]:
        (g,) = gradients
        if ctx.straight and not ctx.needs_input_grad[1]:
            return g, None, None
        w, used, t = ctx.saved_tensors
        if not ctx.straight:
            return g.masked_fill(w.abs() < t, 0.0), None, None
        least = torch.finfo(t.dtype).tiny  # 0/0 where t = 0, where nothing is pruned
        return g, (used - w).mul_(g).sum() / t.clamp_min(least), None


def shrunk(w: Tensor, t: Tensor) -> Tensor:
    """w where |w| >= t, else 0."""
    if w.device.type == "cpu":
        # In one pass; a number costs no wait here. It zeroes what is at the number as well.
        return F.hardshrink(w, torch.nextafter(t, t.new_tensor(-math.inf)).item())
    return w.masked_fill(w.abs() < t, 0.0)


def check_epochs(epochs: int) -> None:
    """Raise BadUsage for a training without steps: the mask is made after the last one."""
    if epochs < 1:
        raise BadUsage("the mask is made after the last step; train for at least one epoch")


def large(course: Course, least: int) -> Params:
    """The layers with at least `least` weights. Raises BadUsage if there is none."""
    # One weight has no standard deviation.
    params = {name: w for name, w in course.params.items() if w.numel() >= max(least, 2)}
    if not params:
        most = max(w.numel() for w in course.params.values())
        raise BadUsage(
            f"least={least}: it must be at most {most:,}, the weights of the largest layer"
        )
    return params


def in_sigmas(sparsity: float) -> float:
    """sqrt(2) erfinv(s): a fraction s of a Gaussian is within this many standard deviations."""
    return math.sqrt(2) * float(torch.special.erfinv(torch.tensor(sparsity, dtype=torch.float64)))


class StraightThrough(Pruner):
    """Prunes in the forward pass by a threshold per layer, which the subclass gives.

    After the last step, the weights that the forward pass does not use are masked. So the network
    that is saved is the one that was trained.
    """

    steady = True

    def __init__(
        self,
        course: Course,
        params: Params,
        *,
        straight: bool,
        recenter: bool = False,
        by_layer: bool = False,
    ) -> None:
        self.params = params
        self.all = sum(weight.numel() for weight in prunable(course.model).values())
        self.straight, self.recenter, self.by_layer = straight, recenter, by_layer
        self.final: Mask = {}
        self.used: Params = {}
        self.applied: dict[str, Tensor] = {}
        self.spreads: dict[str, Histogram] = {}
        self.ends: dict[str, float] = {}

    @abstractmethod
    def thresholds(self) -> dict[str, Tensor]:
        """The magnitude below which the weights of a layer are pruned, in absolute units."""

    def weights(self, params: Params, clock: Clock) -> Params:
        if self.final:
            return {}
        self.used = {}  # those of the step before: their memory serves this one
        self.applied = self.thresholds()
        self.used = {
            name: Thresholded.apply(weight, self.applied[name], self.straight)
            for name, weight in self.params.items()
        }
        return self.used

    @torch.no_grad()
    def update(self, params: Params, clock: Clock) -> None:
        if self.recenter:
            for weight in self.params.values():
                weight -= weight.mean()
        if clock.step == clock.steps_per_epoch * clock.epochs:
            self.spreads = {name: histogram(weight) for name, weight in self.params.items()}
            self.final = self.final_mask()
            if self.by_layer:
                self.ends = {name: end.item() for name, end in self.thresholds().items()}

    @torch.no_grad()
    def kept(self) -> Mask:
        """The mask of weights above the thresholds."""
        thresholds = self.thresholds()
        return {n: ~(w.abs() < thresholds[n]).cpu() for n, w in self.params.items()}

    def final_mask(self) -> Mask:
        return self.kept()

    def mask(self, params: Params, clock: Clock) -> Mask:
        return self.final

    def facts(self) -> dict[str, Any]:
        """The density over all prunable weights; at the end also the weights' histograms."""
        pruned = sum(int((~kept).sum()) for kept in (self.final or self.kept()).values())
        facts: dict[str, Any] = {"density": 1 - pruned / self.all}
        if self.spreads:
            counts = [each.weights for each in self.spreads.values()]
            facts["weights"] = list(map(sum, zip(*counts, strict=True)))
        if self.by_layer and self.spreads:
            facts["spread"] = {
                name: each._asdict() | {"threshold": self.ends[name] / each.sigma}
                for name, each in self.spreads.items()
                if each.sigma > 0
            }
        return facts

    def state_dict(self) -> dict[str, Tensor]:
        return {f"kept/{name}": kept for name, kept in self.final.items()}

    def blank_state(self, names: Collection[str]) -> Mapping[str, Tensor]:
        """The shapes of the state; with a mask only if one is saved, as the last step makes it."""
        masks = {
            f"kept/{name}": torch.empty_like(weight, dtype=torch.bool, device="meta")
            for name, weight in self.params.items()
        }
        return self.state_dict() | (masks if masks.keys() & set(names) else {})

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.final = {n: state[f"kept/{n}"].clone() for n in self.params if f"kept/{n}" in state}
