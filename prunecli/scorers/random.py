from __future__ import annotations

import torch
from torch import Tensor


def random(weight: Tensor, *, seed: int = 0) -> Tensor:
    """Uniform in [0, 1): the weights to keep are chosen at random.

    Exact selection keeps exactly k of them, which a separate draw for each weight would not. The
    seed is derived from the command's `--seed` and the weight's name.
    """
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(weight.shape, generator=generator, dtype=torch.float32)
