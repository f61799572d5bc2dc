from __future__ import annotations

from torch import Tensor

from prunecli.types import Part, decisive


@decisive
def nonzero(weight: Part) -> Tensor:
    """1 for each weight that is there, 0 for one that is exactly zero; it decides what stays.

        s_j = [w_j != 0]

    For checkpoints that something else has pruned: their mask, from the zeros that it left.

    Source: none; -0.0, as w_j * 0 leaves it, is a zero too
    """
    return (weight != 0).float()
