"""Budgets and limits of a network's density, and the shares of its layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from prunecli.errors import BadUsage
from prunecli.types import Course, Params

Mode = Literal["budget", "hinge", "unconstr"]
Estimate = Literal["count", "gauss"]
Weighting = Literal["wavg", "avg", "flops"]
ROUNDING = 1e-9


@dataclass(frozen=True)
class Term:
    """One term of the loss, L = 1 - sum_i c_i s_i, and its budget."""

    name: str
    shares: dict[str, float]
    """c_i by layer name; the sum is below 1 if a part of the network is never pruned."""
    budget: float | None
    lam: float

    def left(self, sparsity: Mapping[str, float]) -> float:
        return 1 - sum(share * sparsity[name] for name, share in self.shares.items())


@dataclass(frozen=True)
class Budget:
    """The budgets of all layers together, and the limits of each."""

    mode: Mode
    estimate: Estimate
    terms: list[Term]
    lower: dict[str, float]
    """The least sparsity of each layer."""
    upper: dict[str, float]

    def check(self) -> None:
        """Raise BadUsage if limits contradict each other or a budget."""
        for name, low in self.lower.items():
            if low > self.upper[name]:
                raise BadUsage(f"lower={low:g} is above upper={self.upper[name]:g} for {name!r}")
        for term in self.terms:
            least, most = term.left(self.upper), term.left(self.lower)
            budget = term.budget
            if budget is None:
                continue
            if budget < least - ROUNDING or (self.mode == "budget" and budget > most + ROUNDING):
                raise BadUsage(
                    f"{term.name}={budget:g} cannot be met: lower, upper and least allow "
                    f"{least:.4g} to {most:.4g}"
                )


def check_budgets(
    density: float | None,
    flops: float | None,
    mode: Mode,
    weighting: Weighting,
    lam: float,
    lam_flops: float | None,
) -> None:
    """Raise BadUsage for budgets outside 0 to 1, and for options that exclude each other."""
    for name, budget in (("density", density), ("flops", flops)):
        if budget is not None and not 0 < budget < 1:
            raise BadUsage(f"{name}={budget:g}: a budget is above 0 and below 1")
    for name, factor in (("lam", lam), ("lam_flops", lam_flops)):
        if factor is not None and not factor >= 0:
            raise BadUsage(f"{name}={factor:g}: it must be 0 or more")
    unlimited = density is None and flops is None
    if mode == "unconstr" and not unlimited:
        raise BadUsage("mode=unconstr has no budget; leave density and flops out")
    if mode != "unconstr" and unlimited:
        raise BadUsage(f"mode={mode} needs a budget: density, flops, or both")
    if weighting == "flops" and mode != "unconstr":
        raise BadUsage("weighting=flops is for mode=unconstr; give a budget of operations as flops")
    if lam_flops is not None and flops is None:
        raise BadUsage("lam_flops is for the budget of operations; give that as flops")
    if weighting == "avg" and density is None and mode != "unconstr":
        raise BadUsage("weighting=avg is for the budget of weights; give that as density")


def shares(weighting: Weighting, params: Params, course: Course) -> dict[str, float]:
    """c_i: each layer's share of the weights (`wavg`), layers (`avg`), or operations (`flops`).

    Weights and layers are those in `params`; operations are those of the whole network.
    """
    if weighting == "flops":
        total, operations = course.flops()
        return {name: operations.get(name, 0) / total for name in params}
    if weighting == "avg":
        return {name: 1 / len(params) for name in params}
    total = sum(weight.numel() for weight in params.values())
    return {name: weight.numel() / total for name, weight in params.items()}


def limits_by_pattern(option: str, text: str) -> list[tuple[str, float]]:
    """The patterns and sparsities of 'LIMIT' or 'PATTERN:LIMIT,...'.

    Raises BadUsage for what is not a sparsity.
    """
    found = []
    for part in text.split(","):
        pattern, colon, limit = part.rpartition(":")
        try:
            value = float(limit)
        except ValueError:
            value = -1.0
        if not 0 <= value <= 1:
            raise BadUsage(
                f"{option}={text}: give a sparsity from 0 to 1, or PATTERN:SPARSITY,... of them"
            )
        found.append((pattern.strip() if colon else "*", value))
    return found


def limits(option: str, text: str, params: Params, otherwise: float) -> dict[str, float]:
    """Sparsities by layer, from `limits_by_pattern`; `otherwise` for layers that match nothing.

    Raises BadUsage for a pattern that matches no layer.
    """
    found = dict.fromkeys(params, otherwise)
    for pattern, value in limits_by_pattern(option, text):
        names = [name for name in params if fnmatchcase(name, pattern)]
        if not names:
            raise BadUsage(f"{option}={text}: no layer that is pruned matches {pattern!r}")
        found |= dict.fromkeys(names, value)
    return found
