from __future__ import annotations

from torch import nn

from prunecli.scorers._products import weight_times_hessian_gradient
from prunecli.types import Batches, Scores


def grasp(
    model: nn.Module, data: Batches, *, per_class: int = 10, temperature: float = 200.0
) -> Scores:
    """Gradient signal preservation: keep the weights whose removal would lower the gradient flow.

    Removing the weight theta_j changes g'g by about -2 theta_j (Hg)_j, so the weights with the
    highest

        s_j = theta_j * (Hg)_j

    are kept. g and H are the gradient and Hessian of the loss at temperature T (`temperature`) on
    `per_class` images of each class, in training mode. The paper scores -theta * Hg and removes the
    highest, which is the same. Scores can be negative.

    Raises BadUsage if a class has fewer than `per_class` images.

    Source: Wang et al., GraSP, ICLR 2020, arXiv 2002.07376, eq. 8
    """
    return weight_times_hessian_gradient(model, data, per_class, temperature)
