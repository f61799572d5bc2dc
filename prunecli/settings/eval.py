"""The settings of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from prunecli.errors import BadUsage
from prunecli.settings.data import DataSettings
from prunecli.settings.kinds import File, Plain, Switch, Whole
from prunecli.settings.table import field_of, group, option
from prunecli.settings.training import PRECISION

EVAL_BATCH = 500
"""Images that a CPU evaluates at a time, and the least that a GPU does."""
MOST_EVAL_BATCH = 4 * EVAL_BATCH
"""Images that a GPU evaluates at a time, if they are small."""
LONGEST = 1_000
"""Characters of a name in a result."""


@dataclass(frozen=True)
class EvalSettings:
    """What `eval` may be told."""

    mask: Path | None = option("Apply this mask before evaluating.", File())
    data: DataSettings = group(DataSettings)
    batch_size: int | None = option(
        "Images at a time.", Whole(1),
        unset=f"{EVAL_BATCH}; on a GPU up to {MOST_EVAL_BATCH}, by the size of the images",
    )  # fmt: skip
    precision: str = field_of(PRECISION, "auto")
    throughput: bool = option("Also measure images per second.", Switch())
    label: str | None = option("What a report calls the method.", Plain.TEXT, unset="its own name")
    histograms: bool = option("Also say how the weights of each layer are spread.", Switch())

    def check(self) -> None:
        """Raise BadUsage for a label that a result has no room for, or that is no text."""
        label = self.label or ""
        if len(label) > LONGEST or label.encode(errors="ignore").decode() != label:
            raise BadUsage(f"--label must be text of at most {LONGEST:,} characters")
