"""The files of a training: its state while it runs, its log, its checkpoint."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from prunecli.errors import BadInput, Mismatch, NotFinite
from prunecli.files.artifacts import metadata, open_artifact, untied, write_artifact, write_mask
from prunecli.files.atomic import Files, journal_of, write_text
from prunecli.files.claims import is_locked, sweep
from prunecli.files.digest import file_sha256
from prunecli.files.names import beside
from prunecli.files.parsing import table, with_nulls
from prunecli.files.reading import read_bytes
from prunecli.files.records import (
    CheckpointRecord,
    Lineage,
    MaskOrigin,
    PrunerRecord,
    Selected,
    StateRecord,
)
from prunecli.files.tensors import AGAIN, TensorFile
from prunecli.masks.left import density_of
from prunecli.network.structure import structure
from prunecli.runtime.facts import canonical, differences
from prunecli.runtime.progress import Progress
from prunecli.runtime.shortage import raise_shortage
from prunecli.runtime.versions import versions
from prunecli.runtime.world import World
from prunecli.tensors.finite import all_finite
from prunecli.training.digest import check_digest, digest_of
from prunecli.training.outcome import record_of_mask
from prunecli.training.state import TrainingState
from prunecli.types import Images, Mask

DAMAGED = "{}: it is damaged; start again without --resume"


class DamagedState(BadInput):
    """A training state from which no training can resume."""


def state_beside(target: Path) -> Path:
    """The path of the training state while a checkpoint is under way."""
    return beside(target, "state.safetensors")


def log_beside(target: Path) -> Path:
    return beside(target, "log.jsonl")


def mask_beside(target: Path) -> Path:
    """The path of a pruner's mask."""
    return beside(target, "mask.safetensors")


@dataclass
class TrainingFiles:
    """The checkpoint under way: its training state, its log, and at last itself.

    Of several processes, all read but only the one that leads writes; the others wait for it, since
    the first to end takes the rest with it.
    """

    target: Path
    lineage: Lineage
    told: dict[str, Any]
    """What else a training that goes on must agree with."""
    state: TrainingState
    world: World

    def __post_init__(self) -> None:
        self.state_path = state_beside(self.target)
        if self.world.leads:
            for path in (self.state_path, log_beside(self.target), mask_beside(self.target)):
                if not is_locked(path):  # else it is claimed, with the target or by another command
                    sweep(path)

    def save(self) -> None:
        """Write the training state."""
        if self.world.leads:
            tensors = self.state.tensors()
            facts = table(self.lineage) | self.told
            record = StateRecord(facts=facts, training=self.state.position(), digest="")
            digest = digest_of(tensors, table(record))
            write_artifact(self.state_path, tensors, replace(record, digest=digest))
        self.world.wait()

    def resume(self, progress: Progress) -> None:
        """Load the state that an earlier run saved, if there is one.

        Raises Mismatch if it is another training's.
        """
        if not self.state_path.exists():
            progress.detail(
                f"nothing to resume beside {self.target.name}; starting from the beginning"
            )
            return
        file, record = self._opened()
        damaged = DAMAGED.format(file.label)
        changed = [
            f"{where} was {before!r}, now {now!r}"
            for where, before, now in differences(
                record.facts, json.loads(canonical(table(self.lineage) | self.told))
            )
        ]
        if changed:
            raise Mismatch(
                f"{file.label}: it is the state of another training: {'; '.join(changed)}; "
                "give the same options, or start again without --resume"
            )
        try:
            check_digest(file, table(record))
            self.state.restore(file, record.training)
        except (LookupError, TypeError, ValueError, RuntimeError) as error:
            raise_shortage(error)
            raise DamagedState(damaged) from None
        progress.say(f"resumed after step {self.state.step}")

    def _opened(self) -> tuple[TensorFile, StateRecord]:
        """The state and what it says. Raises DamagedState if it cannot be one."""
        try:
            file = open_artifact(self.state_path, "state")
        except BadInput as error:
            what = str(error).removesuffix(AGAIN)
            raise DamagedState(f"{what}; start again without --resume") from None
        record = file.says(StateRecord)
        if file.metadata != {"format": "pt", **metadata(record)}:
            raise DamagedState(DAMAGED.format(file.label))
        return file, record

    def finish(self, data: Images) -> None:
        """Write the checkpoint and drop the state. What the mask excludes is zero to the last.

        The mask of a pruner and the log go into files of their own, beside the checkpoint. All of
        them are written first, and take their names together.
        """
        if self.world.leads:
            outdated = [*_companions_of(self.target), self.state_path]
            with Files(journal_of(self.target)) as files:
                self._write(data, files)
                files.outdated += [path for path in outdated if path not in files.drafts]
        self.world.wait()

    def _write(self, data: Images, files: Files) -> None:
        model, params = self.state.model, self.state.params
        kept = self.state.settle(self.lineage.epochs or 0)
        everything = {
            name: kept.get(name, torch.ones(weight.shape, dtype=torch.bool))
            for name, weight in params.items()
        }
        tensors, tied = untied(model.state_dict())
        bad = [name for name, t in tensors.items() if t.is_floating_point() and not all_finite(t)]
        if bad:
            raise NotFinite(f"{bad[0]!r} holds NaN or infinity after training; lower --lr")
        lineage, pruner = self.lineage, self.lineage.pruner
        if pruner and kept:
            lineage = replace(lineage, mask=self._write_mask(pruner, kept, files))
        record = CheckpointRecord(
            **lineage.part(CheckpointRecord),
            **structure(model),
            classes=tuple(data.classes),
            normalisation={"mean": tuple(data.mean), "std": tuple(data.std)},
            density=density_of(everything),
            history=tuple(self.state.history),
            tied=tied,
            versions=versions(),
        )
        if self.state.history:
            write_text(log_beside(self.target), _log(self.state.history), files)
        write_artifact(self.target, tensors, record, files)

    def _write_mask(self, pruner: PrunerRecord, kept: Mask, files: Files) -> MaskOrigin:
        """Write the mask that a pruner made; gives what the checkpoint says of it."""
        path, lineage = mask_beside(self.target), self.lineage
        record = record_of_mask(self.state, kept, pruner, lineage.seed, lineage.model)
        write_mask(path, kept, record, files)
        draft, _ = files.drafts[path]
        sha256, epochs = file_sha256(draft), lineage.epochs
        origin = MaskOrigin(**record.part(Selected), nested=None, sha256=sha256, epochs=epochs)
        return with_nulls(origin, "schedule", "asked")


def _log(history: Iterable[Mapping[str, Any]]) -> str:
    return "".join(canonical(row) + "\n" for row in history)


def _companions_of(checkpoint: Path) -> list[Path]:
    """The mask and the log that came with a checkpoint, to go with it; a user's own stay."""
    found: list[Path] = []
    with suppress(BadInput, OSError):
        record = TensorFile(checkpoint).says(CheckpointRecord)
        mask, log = mask_beside(checkpoint), log_beside(checkpoint)
        text = _log(record.history or ()).encode()
        if log.is_file() and read_bytes(log, len(text)) == text:
            found.append(log)
        made = record.mask.sha256 if record.pruner and record.mask else None
        if mask.is_file() and file_sha256(mask) == made:
            found.append(mask)
    return found
