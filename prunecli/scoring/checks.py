"""Checks that weights can be scored, and that a method returns valid scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from prunecli.errors import Mismatch, NotFinite
from prunecli.plugins.plugin import Plugin
from prunecli.tensors.finite import all_finite
from prunecli.types import Scores, form

BEYOND = "values beyond the range of float32, in which weights are scored"


def check_weight(name: str, weight: Tensor, label: str, given: Tensor | None = None) -> None:
    """Raise NotFinite for weights that cannot be scored; `given` is what they were made of."""
    if not all_finite(weight):
        what = BEYOND if given is not None and all_finite(given) else "NaN or infinity"
        raise NotFinite(f"{label}: {name!r} holds {what}; it cannot be scored")


def check_form(score: Any, shape: Sequence[int], name: str, scorer: Plugin) -> None:
    """Raise Mismatch unless a scorer gave a score for each weight."""
    if not isinstance(score, Tensor) or score.shape != tuple(shape) or score.is_complex():
        raise Mismatch(
            f"the {scorer.label} gives scores of {name!r} that are "
            f"{form(score)}, not real numbers {list(shape)}"
        )


def check_scores(scores: Scores, scorer: Plugin, label: str) -> None:
    """Raise NotFinite for scores that rank nothing."""
    for name, score in scores.items():
        if not all_finite(score):
            raise NotFinite(
                f"{scorer.name}: the scores of {name!r} hold NaN or infinity; "
                f"check {label} with 'inspect'"
            )
