"""How much is to stay, however it was said."""

from __future__ import annotations


def density_of(measure: str, value: float) -> float:
    """The kept fraction that a `density`, a `sparsity` or a `compression` of this value is."""
    if measure == "compression":
        return 1 / value
    # 1 - 0.9 is 0.09999999999999998; what was meant is 0.1.
    return round(1 - value, 15) if measure == "sparsity" else value
