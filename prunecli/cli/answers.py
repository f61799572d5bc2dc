"""What commands print with --json: the one declaration of it, from which `schema` makes a schema.

Every object says its `command`, and the `output` that was written, null where that is none. What a
command says besides, its record below declares; all of its names are always there. An object with
`error` is a `Failure`, whatever the command.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from prunecli.files.parsing import Record, table, with_nulls


class Of:
    """A note in an annotation: the value is a table that is one of these records.

    They are named, and loaded for the schema alone, since `--help` must be quick.
    """

    def __init__(self, module: str, *names: str) -> None:
        self.module, self.names = module, names

    def records(self) -> list[type[Record]]:
        """The records themselves."""
        found = import_module(self.module)
        return [getattr(found, name) for name in self.names]


RECORDS = "prunecli.files.records"
Meta: TypeAlias = Annotated[
    Mapping[str, Any], Of(RECORDS, "CheckpointRecord", "ScoresRecord", "MaskRecord")
]


@dataclass(frozen=True, kw_only=True)
class Answer(Record):
    """What a command did or found."""

    output: Annotated[str | None, "The path of what was written."] = None


@dataclass(frozen=True, kw_only=True)
class Failure(Record):
    """Why a command failed."""

    error: Annotated[str, "What is wrong, and where; a line for each fault."]
    mend: Annotated[str | None, "What to do about it."]
    exit: Annotated[int, "The exit code."]
    kind: Annotated[str, "The name that goes with the exit code."]


@dataclass(frozen=True, kw_only=True)
class Written(Answer):
    """A tensor file that was written."""

    dry_run: Annotated[bool, "Whether nothing was written; then the names below are null."]
    sha256: Annotated[str | None, "The hash of the file, or of the folder's index."]
    meta: Annotated[Meta | None, "What the file says of itself."]


@dataclass(frozen=True, kw_only=True)
class Measured(Answer):
    """A result that was written."""

    dry_run: Annotated[bool, "Whether nothing was written; then the result is null."]
    result: Annotated[Mapping[str, Any], Of("prunecli.files.results", "Result")] | None


@dataclass(frozen=True, kw_only=True)
class Reported(Answer):
    """A report."""

    dry_run: Annotated[bool, "Whether nothing was written."]
    result: Annotated[
        tuple[Mapping[str, Any], ...] | str | None,
        "Without an output: the rows of --format json, the text of any other format.",
    ]


@dataclass(frozen=True, kw_only=True)
class Studied(Answer):
    """A study: its folder is the output."""

    dry_run: Annotated[bool, "Whether its commands were asked for."]
    jobs: Annotated[int, "How many jobs it has, or what --only leaves of them."]
    outputs: Annotated[tuple[str, ...], "The outputs that no other job needs."]
    ran: Annotated[int | None, "How many jobs were done now; null if none was to be."] = None
    commands: Annotated[tuple[str, ...] | None, "The command of each job; null but with --dry-run."
                        ] = None  # fmt: skip
    states: Annotated[
        Mapping[str, str] | None,
        "Of each job: done, running, waiting, stopped or failed, maybe with ': why'; null but with "
        "--status.",
    ] = None


@dataclass(frozen=True, kw_only=True)
class Recipes(Answer):
    """The recipes that come with prunecli."""

    recipes: Annotated[Mapping[str, str], "The purpose of each, by its name."]


@dataclass(frozen=True, kw_only=True)
class RecipeText(Answer):
    """A recipe."""

    text: Annotated[str, "The YAML of it."]


@dataclass(frozen=True, kw_only=True)
class Copied(Answer):
    """A recipe that was copied: its copy is the output."""

    outputs: Annotated[tuple[str, ...], "All files that were written, the recipe first."]


@dataclass(frozen=True, kw_only=True)
class Valid(Answer):
    """A recipe without faults."""

    name: str
    steps: int
    jobs: int


@dataclass(frozen=True, kw_only=True)
class SchemaText(Answer):
    """A JSON schema."""

    schema: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Named(Record):
    """A method, pruner, model or data set."""

    summary: Annotated[str, "The first line of what is written of it."]
    options: Annotated[Mapping[str, Any], "The defaults of its options, by their names."]
    text: Annotated[str, "All that is written of it: equation, source, options."]


@dataclass(frozen=True, kw_only=True)
class Listed(Answer):
    """What there is of a kind."""

    kind: Annotated[str, "What was asked for: methods, pruners, models or datasets."]
    names: Annotated[
        Mapping[str, Named], "Each of them by its name, or the one that was asked for."
    ]


@dataclass(frozen=True, kw_only=True)
class Tensor(Record):
    """A tensor of a file, or a weight that a mask is for. Values are those of a checkpoint."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    zeros: Annotated[int | None, "How many values are exactly zero."] = None
    pattern: Annotated[str | None, "The tightest N:M that holds along the inputs."] = None
    finite: Annotated[bool | None, "Whether no value is NaN or infinity."] = None
    kept: Annotated[int | None, "How many weights a mask keeps."] = None


@dataclass(frozen=True, kw_only=True)
class Inspected(Answer):
    """What a file is."""

    kind: Annotated[str, "checkpoint, checkpoint (foreign), scores, mask or state."]
    sha256: str
    parameters: Annotated[int, "How many values all tensors hold, or a mask's weights."]
    prunable: Annotated[tuple[str, ...] | None, "The weights that may be pruned."]
    left_whole: Annotated[Mapping[str, Any], Of(RECORDS, "LeftWhole")] | None
    zeros: Annotated[int | None, "How many of the prunable weights are exactly zero."]
    pairs: Annotated[tuple[str, ...], "Tensors that are there as X_orig and X_mask."]
    tensors: tuple[Annotated[Mapping[str, Any], Of(__name__, "Tensor")], ...]
    meta: Annotated[Mapping[str, Any] | None, "What the file says of itself."]


@dataclass(frozen=True, kw_only=True)
class Verified(Answer):
    """A checkpoint that is what it says it is; any other one is a failure."""

    verified: bool
    checkpoint: Annotated[str, "The hash of the checkpoint."]
    tensors: int
    mask: Annotated[str | None, "The hash of the mask."]
    zeros: Annotated[int | None, "How many weights the mask removes, all of them zero."] = None
    masked: Annotated[int | None, "How many tensors the mask is for."] = None
    jobs: Annotated[tuple[str, ...] | None, "The jobs that led to it, with --recipe."] = None


def as_table(answer: Answer, command: str) -> dict[str, Any]:
    """What is printed of an answer: all of its names, `command` and `output` first."""
    return {"command": command, **table(with_nulls(answer, *answer.types()))}


def written(output: Path, dry_run: bool) -> Written:
    """The answer that a tensor file was written."""
    if dry_run:
        return Written(output=str(output), dry_run=True, sha256=None, meta=None)
    from prunecli.files.tensors import TensorFile

    file = TensorFile(output)
    return Written(output=str(output), dry_run=False, sha256=file.sha256, meta=file.meta)


def measured(output: Path, dry_run: bool) -> Measured:
    """The answer that a result was written."""
    result = None if dry_run else json.loads(output.read_text())
    return Measured(output=str(output), dry_run=dry_run, result=result)


def reported(output: Path, dry_run: bool) -> Reported:
    """The answer that a report was written."""
    return Reported(output=str(output), dry_run=dry_run, result=None)
