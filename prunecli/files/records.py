"""The metadata of prunecli's files, declared once; see `parsing`.

Who has a checkpoint asks `file.says(CheckpointRecord).density`; of a file that is not prunecli's,
all is None.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, TypeAlias, get_args

from prunecli.files.header import is_shape
from prunecli.files.parsing import Natural, Record, Scalar, parsed, within

MOST_VALUES = 1 << 26
"""The most values of one image."""
Options: TypeAlias = Mapping[str, Any]
Settings: TypeAlias = Mapping[str, Scalar]
Layout: TypeAlias = Annotated[str, ("oi", "io", "eoi", "eio").__contains__]


def is_image(shape: tuple[int, int, int]) -> bool:
    """Whether it is a shape [C, H, W] that an image may have."""
    return all(side > 0 for side in shape) and math.prod(shape) <= MOST_VALUES


def is_size(shape: tuple[int, ...]) -> bool:
    """Whether it is a shape that a weight may have."""
    return is_shape(list(shape))


@dataclass(frozen=True, kw_only=True)
class ModelRecord(Record):
    """The network: its name, and what it is built for."""

    name: str
    options: Options
    input_shape: Annotated[tuple[int, int, int], is_image]
    classes: Annotated[int, within(1, (1 << 20) - 1)]


@dataclass(frozen=True, kw_only=True)
class DatasetRecord(Record):
    """The images that a network was trained on."""

    name: str
    options: Options | None
    sha256: str | None


@dataclass(frozen=True, kw_only=True)
class PrunerRecord(Record):
    """The pruner of a training."""

    name: str
    options: Options
    ignore: tuple[str, ...] | None
    exclude_classifier: bool | None


@dataclass(frozen=True, kw_only=True)
class Adapted(Record):
    """The changes that made the weights that training began with fit the network."""

    strip_prefix: str | None
    new_head: bool


@dataclass(frozen=True, kw_only=True)
class Density(Record):
    """How many weights are left, and their fraction: of each tensor, and over all."""

    kept: Mapping[str, int]
    overall: float
    per_tensor: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class LeftWhole(Record):
    """What a mask does not prune."""

    tensors: Natural
    weights: Natural
    """How many the checkpoint has in all."""
    reasons: Mapping[str, tuple[Natural, Natural]]
    """The numbers of tensors and of values, by what they are; of what is no weight, too."""
    beside: tuple[str, ...]
    """The reasons that are no weights, such as an optimizer's state."""


@dataclass(frozen=True, kw_only=True)
class TiesRecord(Record):
    """How many scores were equal where the cut lies, and how many of them were kept."""

    equal: Natural
    kept: Natural


@dataclass(frozen=True, kw_only=True)
class Collapse(Record):
    """The diagnosis of a mask, and of its network where that is known and can be traced."""

    dead_layers: tuple[str, ...]
    """Those without any weight left (layer-collapse)."""
    dead_inputs: Mapping[str, int]
    """How many channels of each layer no weight reads."""
    dead_outputs: Mapping[str, int]
    """How many channels of each layer no weight feeds."""
    live_path: bool | None
    """Whether any path from input to output is left."""
    effective_density: float | None
    """The weights on such a path, over all that the mask covers."""
    max_compression: float
    """The highest compression that leaves each of the L layers a weight, n / L."""
    feasible: bool
    """Whether the kept weights suffice for one in each layer."""


@dataclass(frozen=True, kw_only=True)
class Method(Record):
    """The method by which weights were scored."""

    method: str | None
    options: Options | None
    seed: int | None
    scoring: Options | None
    """The data that a network was scored by."""
    left_out: Options | None
    """What was said of which weights are meant."""


@dataclass(frozen=True, kw_only=True)
class Selected(Method):
    """The choice of a mask. `total`, `kept` and `asked` count as the density was asked for."""

    scope: str | None
    rounds: int | None
    schedule: str | None
    asked: Annotated[float, within(1e-18, 1)] | None
    count: str | None
    total: Natural | None
    kept: Natural | None
    rule: str | None = None
    """The rule that replaced exact selection, if any."""

    def __post_init__(self) -> None:
        if self.kept is not None and (not self.total or self.kept > self.total):
            raise ValueError(f"its 'kept' is {self.kept}, of a 'total' of {self.total}")


@dataclass(frozen=True, kw_only=True)
class MaskOrigin(Selected):
    """The origin of a checkpoint's mask."""

    nested: bool | None
    sha256: str
    """The hash of the mask's file."""
    epochs: int | None
    """The epochs that were trained under it."""
    critical: bool | None = None
    """Whether it has the highest compression that empties no layer, and none was asked for."""


@dataclass(frozen=True, kw_only=True)
class Described(Record):
    """What checkpoints, scores and masks say alike, of the network above all."""

    seed: int | None
    parent: str | None
    """The hash of the checkpoint that it was made from."""
    model: ModelRecord | None
    parameters: Natural | None
    layouts: Mapping[str, Layout | None] | None = None
    """The layouts of weights that are not [outputs, inputs]; see `roles.layout`."""
    classifier: str | None
    versions: Mapping[str, str] | None


@dataclass(frozen=True, kw_only=True)
class Lineage(Record):
    """The way a checkpoint came to be.

    A training that goes on must agree with it in every point.
    """

    model: ModelRecord | None
    dataset: DatasetRecord | None
    seed: int | None
    settings: Settings | None
    device: str | None
    parent: str | None
    rewind: str | None
    """The hash of the checkpoint whose weights it began with, if not its parent's."""
    rewound_to: int | None
    """The epochs that those were trained for."""
    earlier: tuple[Settings, ...] | None
    """The settings of all trainings before, the oldest first."""
    mask: MaskOrigin | None
    pruner: PrunerRecord | None
    adapted: Adapted | None = None
    pretrained: str | None

    @property
    def epochs(self) -> int | None:
        """The epochs that it was trained for, if it says that."""
        epochs = (self.settings or {}).get("epochs")
        return epochs if type(epochs) is int else None  # true is none


@dataclass(frozen=True, kw_only=True)
class CheckpointRecord(Lineage, Described):
    """The metadata of a checkpoint."""

    kind: ClassVar[str] = "checkpoint"
    classes: tuple[str, ...] | None
    normalisation: Mapping[str, tuple[float, ...]] | None
    prunable: tuple[str, ...] | None
    density: Density | None
    history: tuple[Options, ...] | None
    """A row for each epoch."""
    tied: Mapping[str, str] | None
    """The name that stands in the file, by each other name of the same tensor."""


@dataclass(frozen=True, kw_only=True)
class ScoresRecord(Described, Method):
    """The metadata of scores."""

    kind: ClassVar[str] = "scores"
    left_whole: LeftWhole | None
    mask: str | None
    """The hash of the mask that was applied."""
    first: str | None
    """The first layer of the network."""


@dataclass(frozen=True, kw_only=True)
class MaskRecord(Described, Selected):
    """The metadata of a mask."""

    kind: ClassVar[str] = "mask"
    left_whole: LeftWhole | None
    scores: str | None
    """The hash of their file."""
    critical: bool | None
    density: Density | None
    mask: str | None
    """The hash of the mask that it is within."""
    ties: TiesRecord | None
    collapse: Collapse | None
    shapes: Mapping[str, Annotated[tuple[int, ...], is_size]] | None
    """The shapes of the weights."""


@dataclass(frozen=True, kw_only=True)
class Position(Record):
    """The point that a training is at; see `training.state`."""

    step: Natural
    history: tuple[Options, ...]
    scheduler: Options
    groups: tuple[Options, ...]
    tensors: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class StateRecord(Record):
    """The metadata of a training state."""

    kind: ClassVar[str] = "state"
    facts: Options
    """The lineage of the checkpoint to be, and what else must agree."""
    training: Position
    digest: str


FileRecord: TypeAlias = CheckpointRecord | ScoresRecord | MaskRecord | StateRecord
KINDS: dict[str, type[Record]] = {cls.kind: cls for cls in get_args(FileRecord)}


def with_kind(meta: Any) -> dict[str, Any]:
    """The metadata of a file: a table that says its kind. Raises ValueError if it is none."""
    if not isinstance(meta, dict) or not isinstance(meta.get("kind"), str):
        raise ValueError("it has no 'kind'")
    return meta


def record_of(meta: Mapping[str, Any]) -> Record:
    """The record of a file's metadata; of a kind that is not known, one without fields.

    Raises ValueError naming the field that is not as it should be.
    """
    own = {name: value for name, value in meta.items() if name not in ("kind", "schema")}
    return parsed(KINDS.get(meta["kind"], Record), own)
