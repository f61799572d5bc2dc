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
"""Images per batch on a CPU, and the fewest on a GPU."""
MOST_EVAL_BATCH = 4 * EVAL_BATCH
"""Images per batch on a GPU, for small images."""
LONGEST = 1_000
"""Characters of a name in a result."""


@dataclass(frozen=True)
class EvalSettings:
    """The settings of `eval`."""

    mask: Path | None = option("Apply this mask before evaluating.", File())
    data: DataSettings = group(DataSettings)
    batch_size: int | None = option(
        "Images per batch.", Whole(1),
        unset=f"{EVAL_BATCH}; on a GPU up to {MOST_EVAL_BATCH}, depending on the image size",
    )  # fmt: skip
    precision: str = field_of(PRECISION, "auto")
    throughput: bool = option("Also measure the throughput, in images per second.", Switch())
    label: str | None = option(
        "Name of the method in reports.", Plain.TEXT, unset="the name of the method"
    )
    histograms: bool = option("Also write a histogram of each layer's weights.", Switch())

    def check(self) -> None:
        """Raise BadUsage for a label that is too long for a result, or not valid text."""
        label = self.label or ""
        if len(label) > LONGEST or label.encode(errors="ignore").decode() != label:
            raise BadUsage(f"--label must be text of at most {LONGEST:,} characters")
