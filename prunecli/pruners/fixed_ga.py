from __future__ import annotations

import torch
from torch import Tensor

from prunecli.errors import some
from prunecli.pruners._masked import check_density, check_left
from prunecli.pruners._straight import StraightThrough, check_epochs, in_sigmas, large
from prunecli.types import Course, Params, Pruner, planned


def check(epochs: int, *, density: float) -> None:
    check_epochs(epochs)
    check_density(density)


@planned(check)
def fixed_ga(
    course: Course,
    *,
    density: float,
    least: int = 1000,
    ste: bool = True,
    recenter: bool = False,
    spread: bool = False,
) -> Pruner:
    """The same sparsity in every layer, with thresholds that assume Gaussian weights.

        b = sigma sqrt(2) erfinv(s),   s = 1 - density

    sigma is the current standard deviation of the layer's weights. The forward pass uses weights
    with |w| >= b. All weights train, pruned ones as if they were in use (without `ste`: only those
    in use). The density is met as far as the weights are Gaussian.

    Layers with fewer than `least` weights are not pruned. `recenter` subtracts the mean of a
    layer's weights after every step. `spread` adds histograms of each layer's weights to the last
    entry of the log.

    Source: Retsinas et al., Weight Pruning via Adaptive Sparsity Loss, arXiv 2006.02768, eq. 3
    """
    check_left(density, course.params)
    pruner = FixedGA(course, density, large(course, least), ste, recenter, spread)
    if empty := [name for name, kept in pruner.kept().items() if not kept.any()]:
        course.warn(
            f"no weight of {some(empty)} exceeds its threshold of {pruner.b:.2f} standard "
            "deviations, so the layer is empty: its weights are not Gaussian (uniform ones end "
            "at 1.73); use fixed-bs, normal initial weights, or a density above 0.083"
        )
    return pruner


class FixedGA(StraightThrough):
    scope = "layer"

    def __init__(
        self,
        course: Course,
        density: float,
        params: Params,
        straight: bool,
        recenter: bool,
        by_layer: bool,
    ) -> None:
        super().__init__(course, params, straight=straight, recenter=recenter, by_layer=by_layer)
        self.b = in_sigmas(1 - density)

    @torch.no_grad()
    def thresholds(self) -> dict[str, Tensor]:
        return {name: self.b * weight.std() for name, weight in self.params.items()}
