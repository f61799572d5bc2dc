"""What every step is given and needs: where to write, how to run, where things come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from prunecli.runtime.progress import Progress


@dataclass(frozen=True)
class Common:
    """The options that all steps share."""

    output: Path | None = None
    force: bool = False
    wait: bool = False
    dry_run: bool = False
    device: str = "auto"
    seed: int | None = None
    progress: Progress = field(default_factory=Progress)
