"""The settings of `apply`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from prunecli.settings.kinds import File
from prunecli.settings.table import option


@dataclass(frozen=True)
class ApplySettings:
    """The settings of `apply`."""

    mask: Path = option("Mask to apply, written by 'prunecli mask'.", File(), required=True)
