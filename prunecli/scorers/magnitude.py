from __future__ import annotations

from torch import Tensor

from prunecli.types import Part


def magnitude(weight: Part) -> Tensor:
    """Absolute value of each weight.

        s_j = |w_j|

    Source: LeCun et al., Optimal Brain Damage, NIPS 1989 (as the baseline); Han et al., NIPS 2015
    """
    return weight.abs()
