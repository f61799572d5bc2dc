from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from prunecli.errors import BadUsage
from prunecli.pruners._apart import Apart, apart_limits
from prunecli.pruners._budget import (
    Budget,
    Estimate,
    Mode,
    Term,
    Weighting,
    check_budgets,
    limits,
    limits_by_pattern,
    shares,
)
from prunecli.pruners._masked import check_left
from prunecli.pruners._straight import StraightThrough, check_epochs, in_sigmas, large, shrunk
from prunecli.types import Clock, Course, Mask, Params, Pruner, planned

HIGHEST, LOWEST = 5.0, 0.01  # sigmas: no threshold is above, and none that is raised below
HALVINGS = 30
MISSED = 0.01

PENALTIES: dict[str, Callable[[Tensor, float], Tensor]] = {
    "budget": lambda left, budget: (left - budget).square(),
    "hinge": lambda left, budget: (left - budget).clamp_min(0),
    "unconstr": lambda left, _: left,
}


def check(
    epochs: int,
    *,
    density: float | None,
    flops: float | None,
    mode: Mode,
    weighting: Weighting,
    lam: float,
    lam_flops: float | None,
    lower: str,
    upper: str,
    apart: str,
    start: float | None,
    rate: float,
) -> None:
    check_epochs(epochs)
    check_budgets(density, flops, mode, weighting, lam, lam_flops)
    limits_by_pattern("lower", lower)
    limits_by_pattern("upper", upper)
    if apart:
        apart_limits(apart)
    first = _first(start, density, flops)
    if not (0 < first < 1 and rate > 0):
        raise BadUsage(f"start={first:g}, rate={rate:g}: start is from 0 to 1, rate above 0")


def _first(start: float | None, density: float | None, flops: float | None) -> float:
    """The sparsity at which every b_i starts."""
    return 0.6 * (1 - (density or flops or 0.5)) if start is None else start


@planned(check)
def adaptive(
    course: Course,
    *,
    density: float | None = None,
    flops: float | None = None,
    mode: Mode = "budget",
    estimate: Estimate = "count",
    weighting: Weighting = "wavg",
    lam: float = 10.0,
    lam_flops: float | None = None,
    lower: str = "0",
    upper: str = "1",
    apart: str = "",
    start: float | None = None,
    rate: float = 0.01,
    least: int = 1000,
    ste: bool = True,
    recenter: bool = False,
    spread: bool = False,
) -> Pruner:
    """Adaptive sparsity: each layer learns its own threshold, under a budget for all of them.

    The forward pass uses the weights of layer i with |w| >= b_i sigma_i. All weights train, pruned
    ones included (without `ste`: only those in use), and so does b_i. The density

        L_s = 1 - sum_i c_i s_i,   ds_i/db_i = d/db_i erf(b_i / sqrt 2)

    is counted, and its slope is that of Gaussian weights. With `estimate=gauss`, as printed in the
    paper, s_i = erf(b_i / sqrt 2) itself, which is wrong as far as weights are not Gaussian. c_i is
    the layer's share of the weights (`weighting=wavg`), of the layers (`avg`), or of the network's
    operations (`flops`). With B the requested `density`, the loss gains the term

        lam (L_s - B)^2        (`mode=budget`)
        lam max(L_s - B, 0)    (`hinge`: the density never exceeds B; the last step ensures it)
        lam L_s                (`unconstr`: as sparse as the loss allows)

    `flops` is a budget of operations, alone or together with `density`, weighted by `lam_flops`
    (default: `lam`). It counts the whole network; `density` counts the pruned layers. `lower` and
    `upper` limit the sparsity erf(b_i / sqrt 2) of layers: a number for all, or `PATTERN:LIMIT,...`
    for layers whose names match. Every b_i starts where s_i = `start` (default: 0.6 of the
    requested sparsity, or 0.3 without one), and trains at `rate` times the learning rate. Layers
    with fewer than `least` weights are not pruned. `recenter` subtracts the mean of a layer's
    weights after every step. `spread` adds histograms of each layer's weights to the last entry of
    the log.

    `apart=LOW:HIGH` makes every layer end at a sparsity of at most LOW or at least HIGH. The loss
    gains lam t sum_i c_i max(s_i - LOW, 0) over the dense layers, and max(HIGH - s_i, 0) likewise
    over the sparse ones; t rises from 0 to 1 over the training. The sparsest layers become the
    sparse ones, as many as the budget needs. The last step moves any layer left in between.

    Raises BadUsage for budgets outside 0 to 1, or that the limits rule out, and for limits that
    leave a layer neither side of `apart`.

    Source: Retsinas et al., Weight Pruning via Adaptive Sparsity Loss, arXiv 2006.02768, eqs. 5-11
    (without the stray 1/N of eq. 8); `apart`: section 3.4.4
    """
    params = large(course, least)
    check_left(density or 1.0, params)
    terms = []
    if density is not None or flops is None:
        terms.append(Term("density", shares(weighting, params, course), density, lam))
    if flops is not None:
        own = lam if lam_flops is None else lam_flops
        terms.append(Term("flops", shares("flops", params, course), flops, own))
    low, high = limits("lower", lower, params, 0.0), limits("upper", upper, params, 1.0)
    budget = Budget(mode, estimate, terms, low, high)
    budget.check()
    how = {"straight": ste, "recenter": recenter, "by_layer": spread}
    pruner = Adaptive(course, params, budget, _first(start, density, flops), rate, **how)
    if apart:
        pruner.keep_apart(*apart_limits(apart))
    return pruner


class Adaptive(StraightThrough):
    def __init__(
        self,
        course: Course,
        params: Params,
        budget: Budget,
        start: float,
        rate: float,
        **how: bool,
    ) -> None:
        super().__init__(course, params, **how)
        self.budget, self.relative_lr, self.warn = budget, rate, course.warn
        like = torch.empty(0, device=next(iter(params.values())).device)
        self.low, self.high = (
            like.new_tensor([min(in_sigmas(limit[name]), HIGHEST) for name in params])
            for limit in (budget.lower, budget.upper)
        )
        b = torch.full_like(self.low, in_sigmas(start))
        self.b = nn.Parameter(b.clamp(self.low, self.high))
        self.shares = [b.new_tensor([term.shares[n] for n in params]) for term in budget.terms]
        self.apart: Apart | None = None
        self.pressure = torch.zeros_like(b[0])

    def keep_apart(self, low: float, high: float) -> None:
        """Let no layer end between these sparsities. Raises BadUsage if limits rule that out."""
        budget, first = self.budget, self.budget.terms[0]
        for name in self.params:
            if budget.lower[name] > low and budget.upper[name] < high:
                raise BadUsage(
                    f"apart={low:g}:{high:g}: lower and upper leave {name!r} nothing outside it"
                )
        lower, upper = (
            self.b.new_tensor([limit[name] for name in self.params])
            for limit in (budget.lower, budget.upper)
        )
        target = None if first.budget is None else 1 - first.budget
        self.apart = Apart(low, high, self.shares[0], lower, upper, target)

    def parameters(self) -> Iterable[nn.Parameter]:
        return [self.b]

    def thresholds(self) -> dict[str, Tensor]:
        b = self.b.unbind()
        return {n: b[i] * w.detach().std() for i, (n, w) in enumerate(self.params.items())}

    def penalty(self, params: Params, clock: Clock) -> Tensor:
        """Sum over the terms of lam f(L_s)."""
        s = torch.erf(self.b / math.sqrt(2))
        if self.budget.estimate == "count":
            s = s + (_counted(self.used, self.applied).to(s) - s).detach()
        f = PENALTIES[self.budget.mode]
        terms = [
            term.lam * f(1 - (c * s).sum(), term.budget or 0.0)
            for term, c in zip(self.budget.terms, self.shares, strict=True)
        ]
        if self.apart is not None:
            terms.append(self.budget.terms[0].lam * self.pressure * self.apart.distance(s))
        return torch.stack(terms).sum()

    @torch.no_grad()
    def update(self, params: Params, clock: Clock) -> None:
        self.b.clamp_(self.low, self.high)
        self.pressure.fill_(clock.step / (clock.steps_per_epoch * clock.epochs))
        super().update(params, clock)

    def final_mask(self) -> Mask:
        """The mask of weights above the thresholds; `hinge` raises them until budgets are met."""
        for name, asked, reached in self._reached():
            over = reached - asked
            if (over if self.budget.mode == "hinge" else abs(over)) > MISSED:
                self.warn(
                    f"{name}={asked:g} was requested, but training reached {reached:.4g}; use "
                    "more epochs, a higher lam or a higher rate"
                )
        moved = self.apart is not None and self._part(self.apart)
        if self._over() and (self.budget.mode == "hinge" or moved):
            self._scale(1.0)
        elif moved and self.budget.mode == "budget":
            self._scale(LOWEST / HIGHEST)
        return super().final_mask()

    def _part(self, apart: Apart) -> bool:
        """Limit each threshold to its layer's side; returns whether any had to move."""
        params = self.params.values()
        sigma = torch.stack([w.std() for w in params]).tolist()
        sparse = apart.sides(self._counts().to(self.b)).tolist()
        bounds = [apart.bounds(w.abs(), side) for w, side in zip(params, sparse, strict=True)]
        low, high = (
            self.b.new_tensor([end / s for end, s in zip(ends, sigma, strict=True)])
            for ends in zip(*bounds, strict=True)
        )
        # What a layer's limits are by the estimate gives way to the side, which is counted.
        self.low, self.high = self.low.clamp(low, high), self.high.clamp(low, high)
        before = self.b.detach().clone()
        self.b.clamp_(self.low, self.high)
        return not torch.equal(before, self.b)

    def _scale(self, low: float) -> None:
        """Multiply all thresholds by the smallest factor from `low` on that meets the budgets."""
        first, high = self.b.clamp_min(LOWEST), HIGHEST / LOWEST
        for _ in range(HALVINGS):
            factor = math.sqrt(low * high)
            self.b.copy_((first * factor).clamp(self.low, self.high))
            low, high = (factor, high) if self._over() else (low, factor)
        self.b.copy_((first * high).clamp(self.low, self.high))
        if self._over():
            self.warn("the limits of the layers leave more than the budget; raise upper")

    def _over(self) -> bool:
        return any(reached > asked for _, asked, reached in self._reached())

    def _reached(self) -> list[tuple[str, float, float]]:
        """Of each budget: its name, the requested value, and the value reached."""
        sparsity = dict(zip(self.params, self._counts().tolist(), strict=True))
        terms = [(term.name, term.budget, term.left(sparsity)) for term in self.budget.terms]
        return [(name, asked, reached) for name, asked, reached in terms if asked is not None]

    def _counts(self) -> Tensor:
        """The sparsity of each layer under the thresholds."""
        thresholds = self.thresholds()
        used = {name: shrunk(self.params[name], t) for name, t in thresholds.items()}
        return _counted(used, thresholds)

    def state_dict(self) -> dict[str, Tensor]:
        apart = {} if self.apart is None else {"pressure": self.pressure}
        return super().state_dict() | {"b": self.b.detach()} | apart

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        super().load_state_dict(state)
        self.b.data.copy_(state["b"])
        if self.apart is not None:
            self.pressure.copy_(state["pressure"])


@torch.no_grad()
def _counted(used: Params, thresholds: Params) -> Tensor:
    """s_i of each layer, counted; a zero is pruned, unless the threshold prunes nothing."""
    return torch.stack(
        [
            (1 - w.count_nonzero().double() / w.numel()) * (thresholds[name] > 0)
            for name, w in used.items()
        ]
    )
