from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from prunecli.errors import BadUsage
from prunecli.pruners._masked import check_density, check_left
from prunecli.pruners._straight import StraightThrough, check_epochs, large
from prunecli.types import Course, Mask, Params, Pruner, planned

HALVINGS = 60


def check(epochs: int, *, density: float, eps: float) -> None:
    check_epochs(epochs)
    check_density(density)
    if not eps > 0:
        raise BadUsage(f"eps={eps:g}: it must be above 0")


@planned(check)
def fixed_bs(
    course: Course,
    *,
    density: float,
    eps: float = 1e-3,
    least: int = 1000,
    ste: bool = True,
    spread: bool = False,
) -> Pruner:
    """The same sparsity in every layer, with thresholds found by bisection.

        | #{|w| < b} / #w - s | < eps,   s = 1 - density

    The forward pass uses weights with |w| >= b. All weights train, pruned ones as if they were in
    use (without `ste`: only those in use). If equal weights leave no such b, the value that
    bisection ends at is used, and a warning at the end names the layer.

    Layers with fewer than `least` weights are not pruned. `spread` adds histograms of each layer's
    weights to the last entry of the log.

    Source: Retsinas et al., Weight Pruning via Adaptive Sparsity Loss, arXiv 2006.02768, eq. 2
    """
    check_left(density, course.params)
    return FixedBS(course, density, eps, large(course, least), ste, spread)


class FixedBS(StraightThrough):
    scope = "layer"
    steady = False  # how often it halves depends on what it finds

    def __init__(
        self,
        course: Course,
        density: float,
        eps: float,
        params: Params,
        straight: bool,
        by_layer: bool,
    ) -> None:
        super().__init__(course, params, straight=straight, by_layer=by_layer)
        self.sparsity, self.eps, self.warn = 1 - density, eps, course.warn
        self.found = torch.zeros(len(params), device=next(iter(params.values())).device)

    @torch.no_grad()
    def thresholds(self) -> dict[str, Tensor]:
        """The thresholds of the previous step if they still hold, else found by bisection."""
        sizes = [weight.abs() for weight in self.params.values()]
        self.found = bisected(sizes, self.sparsity, self.eps, self.found)
        return dict(zip(self.params, self.found.unbind(), strict=True))

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
        return super().state_dict() | {"found": self.found}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        super().load_state_dict(state)
        self.found = state["found"].to(self.found)


def bisected(sizes: list[Tensor], sparsity: float, eps: float, first: Tensor) -> Tensor:
    """b_i with |#{size_i < b_i}/# - sparsity| < eps, or where `HALVINGS` lead.

    `first` is only tried. What comes of a layer depends on its sizes alone where that fails. One
    look at the device serves all layers.
    """
    b = list(first.unbind())
    low, high = [torch.zeros_like(x) for x in b], [torch.zeros_like(x) for x in b]
    left = list(range(len(sizes)))
    for halving in range(HALVINGS + 1):
        counts = torch.stack([torch.count_nonzero(sizes[i] < b[i]) for i in left]).tolist()
        off = {i: n / sizes[i].numel() - sparsity for i, n in zip(left, counts, strict=True)}
        left = [i for i in left if abs(off[i]) >= eps]
        if not left:
            break
        for i in left:
            if halving == 0:
                high[i] = sizes[i].max()
            elif off[i] < 0:
                low[i] = b[i]
            else:
                high[i] = b[i]
            b[i] = (low[i] + high[i]) / 2
    return torch.stack(b)
