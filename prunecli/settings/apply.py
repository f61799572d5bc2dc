"""What is applied to a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from prunecli.settings.kinds import File
from prunecli.settings.table import option


@dataclass(frozen=True)
class ApplySettings:
    """What `apply` may be told."""

    mask: Path = option("What 'prunecli mask' wrote.", File(), required=True)
