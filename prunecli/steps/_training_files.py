"""What a training run leaves on disk: its state while it runs, its log, its checkpoint."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from prunecli.errors import BadInput, Mismatch, NotFinite, raise_shortage
from prunecli.files.artifacts import (
    canonical,
    open_artifact,
    untied,
    write_artifact,
    write_mask,
)
from prunecli.files.atomic import sweep, write_text
from prunecli.files.digest import file_sha256
from prunecli.files.meta import STATE, differences, fits
from prunecli.masks import aligned, all_finite, apply_, classifier, kept_counts
from prunecli.steps._common import beside, collapse_facts, density_facts, versions
from prunecli.training.digest import check_digest, digest_of
from prunecli.training.state import TrainingState
from prunecli.types import Images, Mask, Progress
from prunecli.world import World


def companions(target: Path) -> tuple[Path, Path]:
    """The training state and the log that belong to a checkpoint."""
    return beside(target, "state.safetensors"), beside(target, "log.jsonl")


def mask_beside(target: Path) -> Path:
    """Where a pruner's mask goes."""
    return beside(target, "mask.safetensors")


@dataclass
class TrainingFiles:
    """The checkpoint under way: its training state, its log, and at last itself.

    Of several processes, all read but only the one that leads writes; the others wait for it, since
    the first to end takes the rest with it.
    """

    target: Path
    facts: dict[str, Any]
    state: TrainingState
    world: World

    def __post_init__(self) -> None:
        self.state_path, self.log_path = companions(self.target)
        if self.world.leads:
            for path in (self.state_path, self.log_path, mask_beside(self.target)):
                sweep(path)  # what a killed run left; the claim on the target covers them

    def save(self) -> None:
        """Write the training state and the log so far."""
        if self.world.leads:
            self._write_log()
            tensors = self.state.tensors()
            meta = {"facts": self.facts, "training": self.state.facts()}
            digest = digest_of(tensors, meta)
            write_artifact(self.state_path, "state", tensors, meta | {"digest": digest})
        self.world.wait()

    def resume(self, progress: Progress) -> None:
        """Take up the state that an earlier run left, if any; Mismatch if it is another's."""
        if not self.state_path.exists():
            progress.detail(f"nothing to resume beside {self.target.name}: starting afresh")
            return
        file = open_artifact(self.state_path, "state")
        meta = file.meta or {}
        damaged = f"{file.label}: it is damaged; start afresh without --resume"
        written = {"format": "pt", "prunecli": canonical(meta)}
        if not fits(meta, STATE) or file.metadata != written:
            raise BadInput(damaged)
        changed = [
            f"{place} was {before!r}, now {now!r}"
            for place, before, now in differences(meta["facts"], json.loads(canonical(self.facts)))
        ]
        if changed:
            raise Mismatch(
                f"{file.label}: it is of another training: {'; '.join(changed)}; "
                "give the same options, or start afresh without --resume"
            )
        try:
            check_digest(file, meta)
            self.state.restore(file, meta["training"])
        except (LookupError, TypeError, ValueError, RuntimeError) as error:
            raise_shortage(error)
            raise BadInput(damaged) from None
        progress.say(f"resumed after step {self.state.step}")

    def finish(self, data: Images) -> None:
        """Write the checkpoint and drop the state. What the mask excludes is zero to the last.

        The mask of a pruner goes into a file of its own, beside the checkpoint.
        """
        if self.world.leads:
            self._write(data)
        self.world.wait()

    def _write(self, data: Images) -> None:
        model, params = self.state.model, self.state.params
        kept = self.state.pruner.mask(params, self.state.clock(self.facts["settings"]["epochs"]))
        apply_(params, aligned(kept, params))
        everything = {
            name: kept.get(name, torch.ones(weight.shape, dtype=torch.bool))
            for name, weight in params.items()
        }
        tensors, tied = untied(model.state_dict())
        bad = [name for name, t in tensors.items() if t.is_floating_point() and not all_finite(t)]
        if bad:
            raise NotFinite(f"{bad[0]!r} holds NaN or infinity after training; lower --lr")
        own = self._write_mask(kept) if self.facts["pruner"] and kept else {}
        meta = {
            **self.facts,
            **own,
            "classes": data.classes,
            "normalisation": {"mean": data.mean, "std": data.std},
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "prunable": list(params),
            "classifier": classifier(model),
            "density": density_facts(everything),
            "history": self.state.history,
            "tied": tied,
            "versions": versions(),
        }
        write_artifact(self.target, "checkpoint", tensors, meta)
        self._write_log()
        with suppress(FileNotFoundError):
            self.state_path.unlink()

    def _write_mask(self, kept: Mask) -> dict[str, Any]:
        """Write the mask that a pruner made; gives the lineage for the checkpoint."""
        pruner, options = self.facts["pruner"], self.facts["pruner"]["options"]
        counted = self.state.pruner.counted or sum(bits.numel() for bits in kept.values())
        left = sum(kept_counts(kept).values())
        lineage = {
            "method": pruner["name"],
            "options": {k: v for k, v in options.items() if k not in ("density", "scope")},
            "scope": self.state.pruner.scope,
            "rounds": 1,
            "schedule": None,
            "seed": self.facts["seed"],
            "asked": options.get("density"),
            "count": "scored",
            "total": counted,
            "kept": left,
            "left_out": {
                key: pruner[key] for key in ("ignore", "exclude_classifier") if pruner[key]
            },
        }
        path = mask_beside(self.target)
        shapes = {name: tuple(t.shape) for name, t in self.state.model.state_dict().items()}
        collapse = collapse_facts(kept, self.facts["model"], shapes)
        facts = {"density": density_facts(kept), "collapse": collapse, "versions": versions()}
        write_mask(path, kept, lineage | facts)
        epochs = self.facts["settings"]["epochs"]
        return {"mask": lineage | {"sha256": file_sha256(path), "epochs": epochs}}

    def _write_log(self) -> None:
        if not self.state.history:
            self.log_path.unlink(missing_ok=True)
            return
        lines = [canonical(row) + "\n" for row in self.state.history]
        write_text(self.log_path, "".join(lines))
