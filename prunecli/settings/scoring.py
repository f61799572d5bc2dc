"""The settings of scoring: the method, its data, and which weights it scores."""

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
    """How weights are scored, in any command, and which weights are left out."""

    method: str | None = option(
        "Method that scores CHECKPOINT; see 'prunecli list methods'.", PluginName("scorers")
    )
    options: Mapping[str, Any] = option(
        "Option of the method; repeatable.", Plain.PAIRS, flag="--opt", sets="method"
    )
    data: DataSettings = group(DataSettings)
    batch_size: int = option("Images per scoring batch.", Whole(1), 128)
    exclude_classifier: bool = option("Do not prune the last linear layer.", Switch())
    targets: tuple[str, ...] = option(
        "Prune only weights whose full name matches (shell pattern); repeatable.", Plain.TEXTS,
        metavar="PATTERN",
    )  # fmt: skip
    ignore: tuple[str, ...] = option(
        "Do not prune weights whose full name matches (shell pattern); repeatable.", Plain.TEXTS,
        metavar="PATTERN",
    )  # fmt: skip

    @property
    def left_out(self) -> dict[str, Any]:
        """The given settings of which weights to score, for the metadata; empty if none."""
        said = {
            "targets": list(self.targets),
            "ignore": list(self.ignore),
            "exclude_classifier": self.exclude_classifier,
        }
        return {name: value for name, value in said.items() if value}


@dataclass(frozen=True)
class ScoreSettings(ScoringSettings):
    """The settings of `score`."""

    method: str | None = option(
        "Scoring method; see 'prunecli list methods'.", PluginName("scorers"), required=True
    )
    mask: Path | None = option("Apply this mask before scoring.", File())
