"""Density over the rounds of iterative pruning."""

from __future__ import annotations

from collections.abc import Callable


def exponential(density: float, done: int, rounds: int) -> float:
    """d^(i/N): every round keeps the same fraction of what the last one left."""
    return float(density ** (done / rounds))


def linear(density: float, done: int, rounds: int) -> float:
    """1 - (1 - d) i/N: every round removes the same number of weights."""
    return 1 - (1 - density) * done / rounds


SCHEDULES: dict[str, Callable[[float, int, int], float]] = {
    "exponential": exponential,
    "linear": linear,
}


def densities(density: float, rounds: int, schedule: str) -> list[float]:
    """The density after each of `rounds` rounds; the last is exactly `density`."""
    curve = SCHEDULES[schedule]
    return [curve(density, done, rounds) for done in range(1, rounds)] + [density]
