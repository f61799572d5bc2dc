"""The settings of scoring, and of which weights are scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prunecli.settings.data import DataSettings
from prunecli.settings.kinds import File, Plain, PluginName, Switch, Whole
from prunecli.settings.table import group, option


@dataclass(frozen=True)
class ScoringSettings:
    """What says how weights are scored, wherever that happens, and which are left out."""

    method: str | None = option(
        "Score a checkpoint on the fly; see 'prunecli list methods'.", PluginName("scorers")
    )
    options: Mapping[str, Any] = option(
        "Option of the method; repeatable.", Plain.PAIRS, flag="--opt", sets="method"
    )
    data: DataSettings = group(DataSettings)
    batch_size: int = option("Images per scoring batch.", Whole(1), 128)
    exclude_classifier: bool = option("Leave the last linear layer whole.", Switch())
    targets: tuple[str, ...] = option(
        "Only weights whose names match whole (shell pattern); repeatable.", Plain.TEXTS,
        metavar="PATTERN",
    )  # fmt: skip
    ignore: tuple[str, ...] = option(
        "Leave weights whose names match whole (shell pattern); repeatable.", Plain.TEXTS,
        metavar="PATTERN",
    )  # fmt: skip

    @property
    def left_out(self) -> dict[str, Any]:
        """What was said of which weights are meant, for the metadata; empty if nothing was."""
        said = {
            "targets": list(self.targets),
            "ignore": list(self.ignore),
            "exclude_classifier": self.exclude_classifier,
        }
        return {name: value for name, value in said.items() if value}


@dataclass(frozen=True)
class ScoreSettings(ScoringSettings):
    """What `score` may be told."""

    method: str | None = option(
        "See 'prunecli list methods'.", PluginName("scorers"), required=True
    )
    mask: Path | None = option("Score the network as this mask leaves it.", File())
