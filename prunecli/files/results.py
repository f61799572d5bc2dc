"""The result that `eval` writes, which all its readers rely on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from prunecli.errors import BadInput, printable
from prunecli.files.header import strict_json
from prunecli.files.parsing import Natural, Record, parsed, table, within
from prunecli.files.texts import read_text
from prunecli.settings.eval import LONGEST

MOST = 1e100
"""The most that a number may be for its square to be added up."""


def _has_room(name: str) -> bool:
    """Whether a line of a table has room for it."""
    return len(name) <= LONGEST


def _are_drawn(options: Mapping[str, Any]) -> bool:
    """Whether the whole numbers among them have a place on an axis."""
    return all(abs(value) < 1 << 63 for value in options.values() if isinstance(value, int))


Name: TypeAlias = Annotated[str, _has_room]
Positive: TypeAlias = Annotated[int, within(1)]
Amount: TypeAlias = Annotated[float, within(0, MOST)]
Share: TypeAlias = Annotated[float, within(0, 1)]
Percent: TypeAlias = Annotated[float, within(0, 100)]
Compression: TypeAlias = Annotated[float, within(1, MOST)]
Table: TypeAlias = Mapping[str, Any]
"""Settings and options of a command or plugin."""


@dataclass(frozen=True, kw_only=True)
class Spread(Record):
    """A histogram of a layer's weights around 0, in standard deviations."""

    weights: tuple[Amount, ...] | None = None
    """How many lie in each of so many bins, over `types.REACH` deviations to either side."""
    sigma: Amount | None = None
    """Their standard deviation."""
    mean: Annotated[float, within(-MOST, MOST)] | None = None
    threshold: Amount | None = None
    """What the pruner let pass at the end, in standard deviations."""


@dataclass(frozen=True, kw_only=True)
class Layer(Spread):
    """A prunable tensor under the mask; how it is spread is said where that was asked for."""

    name: Name
    shape: tuple[Natural, ...] | None
    total: Positive
    kept: Natural
    dead_inputs: Natural | None
    dead_outputs: Natural | None

    @property
    def density(self) -> float:
        return self.kept / self.total


@dataclass(frozen=True, kw_only=True)
class Epoch(Record):
    """A line of a training's log; pruners say more. What was not measured is None."""

    epoch: Natural
    loss: Annotated[float, within(-MOST, MOST)]
    lr: float | None = None
    top1: Percent | None = None
    test_loss: float | None = None
    density: Share | None = None
    weights: tuple[Amount, ...] | None = None
    """How many lie in each of so many bins, over `types.REACH` deviations to either side."""
    spread: Mapping[str, Spread] | None = None
    """The same by layer, where the pruner was asked for it."""


@dataclass(frozen=True, kw_only=True)
class Result(Record):
    """The accuracy, cost and lineage of a network.

    The fields stand in the order of the file. Those that may be None may be missing too, in what
    older versions wrote.
    """

    density: Share
    """The fraction kept of the weights that the mask counts."""
    sparsity: Share | None
    asked: Share | None
    """The density asked for; None where the method decides, or the search for the critical
    compression does, or there is no mask."""
    compression: Compression
    """1 / `asked`, or what was reached where nothing was asked."""
    empirical_compression: Compression
    compression_error: Annotated[float, within(-1, MOST)]
    nonzero: Natural
    prunable: Positive
    dead_layers: tuple[Name, ...]
    layers: Annotated[tuple[Layer, ...], bool]  # there is one at least
    parameters: Natural | None
    flops_dense: Positive
    flops_sparse: Natural
    effective_density: Share | None
    live_path: bool | None
    top1: Percent
    top5: Percent
    loss: Amount
    images_per_second: Amount | None
    precision: str | None
    model: Name
    dataset: Name
    method: Name | None
    """What made the mask; None where there is none."""
    options: Annotated[Table, _are_drawn] | None
    scope: Name | None
    rounds: int | None
    nested: bool | None
    """Whether the mask was made within an earlier one."""
    rounds_schedule: str | None
    count: str | None
    left_out: Table | None
    scoring: Table | None
    mask_seed: int | None
    rewound: bool | None
    rewound_to: float | None
    earlier: tuple[Table, ...] | None
    """The settings of the trainings before the last."""
    model_options: Table | None
    dataset_options: Table | None
    mask_epochs: int | None
    """The epochs that were trained under the mask."""
    seed: int | None
    settings: Table | None
    history: tuple[Epoch, ...] | None
    checkpoint_sha256: str | None
    mask_sha256: str | None
    versions: Mapping[str, str] | None
    rule: str | None = None
    """What took the place of exact selection, if anything did."""
    critical: bool | None = None
    """Whether the mask has the highest compression that empties no layer."""
    label: Name | None = None
    """What a report is to call the method, or the network where there is none."""
    classes: Positive | None = None

    def __post_init__(self) -> None:
        if self.nulls is not None:
            for name in ("method", "scope", "seed"):  # are null where there is none, not missing
                if getattr(self, name) is None and name not in self.nulls:
                    raise ValueError(f"it has no {name!r}")

    @property
    def is_dense(self) -> bool:
        return self.method is None

    @property
    def is_free(self) -> bool:
        """Whether the method decided how much goes, so that each seed reaches another density."""
        asks = self.nulls is None or "asked" in self.nulls  # older versions did not say it
        return not self.is_dense and self.asked is None and asks


def as_table(result: Result) -> dict[str, Any]:
    """The result as JSON has it. Lines of the log are sorted by name, as they are there."""
    plain = table(result)
    if plain.get("history"):
        plain["history"] = [dict(sorted(epoch.items())) for epoch in plain["history"]]
    return plain


def as_json(result: Result) -> str:
    """The text of the result's file."""
    return json.dumps(as_table(result), indent=1, allow_nan=False) + "\n"


def read_result(path: Path) -> Result:
    """The result that `prunecli eval` wrote. Raises BadInput for anything else."""
    label = printable(str(path))
    text = read_text(path)
    try:
        values = strict_json(text)
        json.dumps(values, ensure_ascii=False).encode()  # refuses halves of surrogate pairs
        return parsed(Result, values if isinstance(values, dict) else {})
    except json.JSONDecodeError:
        raise BadInput(f"{label}: it is not JSON; give a file that 'prunecli eval' wrote") from None
    except ValueError as error:
        fault = printable(str(error))
        raise BadInput(
            f"{label}: not a result: {fault}; give a file that 'prunecli eval' wrote"
        ) from None
