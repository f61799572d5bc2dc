from __future__ import annotations

from torch import nn

from prunecli.scorers._products import weight_times_hessian_gradient
from prunecli.types import Batches, Scores


def grasp_thesis(
    model: nn.Module, data: Batches, *, per_class: int = 10, temperature: float = 200.0
) -> Scores:
    """GraSP with its sign reversed, as the foresight thesis prints it.

        s_j = -theta_j * (Hg)_j

    Pruning the lowest of these removes the weights that carry the gradient flow, the opposite of
    GraSP. It is here for comparison.

    Source: foresight thesis, eq. 3.6
    """
    scores = weight_times_hessian_gradient(model, data, per_class, temperature)
    return {name: -score for name, score in scores.items()}
