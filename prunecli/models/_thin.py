"""The dense equivalent of a sparse network: the same architecture with fewer channels."""

from __future__ import annotations

import math
from collections.abc import Callable

from prunecli.errors import BadUsage


def thinner(thin: float) -> Callable[[int], int]:
    """C -> floor(sqrt(thin) C), at least 1, so that a layer has `thin` of its weights.

    Raises BadUsage unless 0 < thin <= 1.

    Source: adaptive sparsity loss, eq. 12
    """
    if not 0 < thin <= 1:
        raise BadUsage(f"thin={thin:g}: it must be above 0 and at most 1")
    factor = math.sqrt(thin)
    # A whole number that rounding left a hair below is that number.
    return lambda channels: max(1, math.floor(factor * channels + 1e-9))
