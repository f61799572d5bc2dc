from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from prunecli.errors import BadUsage
from prunecli.pruners._masked import check_density
from prunecli.pruners._straight import StraightThrough, large
from prunecli.types import Course, Mask, Params, Pruner

HALVINGS = 60


def fixed_bs(
    course: Course,
    *,
    density: float,
    eps: float = 1e-3,
    least: int = 1000,
    ste: bool = True,
) -> Pruner:
    """The same sparsity in every layer, by a threshold that bisection finds.

        | #{|w| < b} / #w - s | < eps,   s = 1 - density

    The forward pass uses w where |w| >= b; all weights train on, those below as well, as if they
    were used (without `ste`: only those that are used). Where equal weights leave no such b, the
    one that bisection ends at is used, and a warning at the end names the layer.

    Layers of fewer than `least` weights stay whole.

    Source: Retsinas et al., Weight Pruning via Adaptive Sparsity Loss, arXiv 2006.02768, eq. 2
    """
    check_density(density, course.params)
    if not eps > 0:
        raise BadUsage(f"eps={eps:g}: it must be above 0")
    return FixedBS(course, density, eps, large(course, least), ste)


class FixedBS(StraightThrough):
    def __init__(
        self, course: Course, density: float, eps: float, params: Params, straight: bool
    ) -> None:
        super().__init__(course, params, straight=straight)
        self.sparsity, self.eps, self.warn = 1 - density, eps, course.warn
        self.found = {name: weight.new_zeros(()) for name, weight in self.params.items()}

    @torch.no_grad()
    def thresholds(self) -> dict[str, Tensor]:
        """Those of the step before, where they still hold."""
        self.found = {
            name: bisected(weight.abs(), self.sparsity, self.eps, self.found[name])
            for name, weight in self.params.items()
        }
        return self.found

    def final_mask(self) -> Mask:
        mask = super().final_mask()
        for name, kept in mask.items():
            reached = 1 - int(kept.sum()) / kept.numel()
            if abs(reached - self.sparsity) >= self.eps:
                self.warn(
                    f"{name!r} has a sparsity of {reached:.4g}, not {self.sparsity:.4g}: too many "
                    "of its weights are equal, or eps is finer than one weight"
                )
        return mask

    def state_dict(self) -> dict[str, Tensor]:
        return super().state_dict() | {f"found/{name}": b for name, b in self.found.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        super().load_state_dict(state)
        for name, b in self.found.items():
            self.found[name] = state[f"found/{name}"].to(b)


def bisected(size: Tensor, sparsity: float, eps: float, first: Tensor) -> Tensor:
    """b with |#{size < b}/# - sparsity| < eps, or where `HALVINGS` lead; `first` is tried first."""
    low, high, b = torch.zeros_like(first), size.max(), first
    for _ in range(HALVINGS):
        part = int((size < b).sum()) / size.numel()
        if abs(part - sparsity) < eps:
            break
        low, high = (b, high) if part < sparsity else (low, b)
        b = (low + high) / 2
    return b
