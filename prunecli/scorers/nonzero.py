from __future__ import annotations

from torch import Tensor

from prunecli.types import Part, decisive


@decisive
def nonzero(weight: Part) -> Tensor:
    """1 for a nonzero weight, 0 for an exact zero; the mask keeps all nonzero weights.

        s_j = [w_j != 0]

    Makes the mask of a checkpoint pruned elsewhere, from its zeros. It needs no density.

    Source: none; -0.0, which w_j * 0 can give, counts as zero
    """
    return (weight != 0).float()
