"""`mask`: from scores to which weights stay, in one go or in rounds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prunecli.errors import BadUsage, Mismatch, some
from prunecli.files.artifacts import (
    ScoresFile,
    check_mask_fits,
    kind_of,
    open_artifact,
    read_mask,
    write_mask,
)
from prunecli.files.atomic import check_output, claimed
from prunecli.files.tensors import TensorFile
from prunecli.masks import dead_layers, density, kept_counts
from prunecli.schedules import densities
from prunecli.selection import select
from prunecli.steps._common import Common, density_facts, sibling, stem, versions
from prunecli.steps.score import Scored, Scoring, file_word
from prunecli.types import Mask


@dataclass(frozen=True)
class Selection:
    """How many weights stay, and where they are chosen among."""

    density: float
    scope: str = "global"
    rounds: int = 1
    schedule: str = "exponential"
    allow_dead_layers: bool = True


def mask(
    source: Path,
    selection: Selection,
    scoring: Scoring | None,
    previous: Path | None,
    common: Common,
) -> Path:
    """Keep exactly round(density * n) of the n weights that are scored, and write the mask.

    From a score file, the scores in it decide. From a checkpoint, `scoring` says how to score it;
    in `rounds`, each scores the network as the mask of the round before left it. A `previous` mask
    is never outgrown.
    """
    file = open_artifact(source, "scores", "checkpoint")
    from_checkpoint = kind_of(file) == "checkpoint"
    if from_checkpoint and scoring is None:
        raise BadUsage(f"{file.label}: it is a checkpoint; say how to score it with --method")
    if not from_checkpoint and (scoring is not None or selection.rounds > 1):
        raise BadUsage(f"{file.label}: it holds scores; --method and --rounds need the checkpoint")
    before, before_file = read_mask(previous) if previous else (None, None)
    if before is not None and before_file is not None:
        check_mask_fits(before, file.shapes, before_file.label, file.label)
    output = common.output or _output_name(source, selection, scoring)
    inputs = file.places + (before_file.places if before_file else [])
    check_output(output, inputs, force=common.force)
    scorer = Scored(file, scoring.checked(), common) if scoring else None
    if before is not None:
        _check_same(before, scorer.names if scorer else list(file), file.label)
    if common.dry_run:
        return output
    with claimed(output, inputs, force=common.force, wait=common.wait) as target:
        if scorer is None:
            kept = select(ScoresFile(file, before), selection.density, selection.scope)
            lineage = _lineage_of_scores(file)
        else:
            kept = _in_rounds(scorer, selection, before, common)
            lineage = scorer.facts() | {"scores": None}
        _report_dead_layers(kept, selection, common)
        write_mask(target, kept, lineage | _facts(selection, kept, before_file))
    return output


def _in_rounds(scorer: Scored, selection: Selection, before: Mask | None, common: Common) -> Mask:
    kept = before
    steps = densities(selection.density, selection.rounds, selection.schedule)
    for done, target in enumerate(steps, 1):
        if kept is not None and target > density(kept):
            continue  # the mask before is sparser than this round's target
        kept = select(scorer(kept), target, selection.scope)
        common.progress.advance("pruning rounds", done, len(steps))
    if kept is before or kept is None:
        raise BadUsage(
            f"the earlier mask keeps less than a density of {selection.density:g} already"
        )
    return kept


def _check_same(before: Mask, names: list[str], label: str) -> None:
    """Masks nest over the same weights only: what the new one left out would grow back."""
    if odd := sorted(before.keys() ^ set(names)):
        raise Mismatch(f"{label}: only one of what is scored and --mask covers {some(odd)}")


def _lineage_of_scores(file: TensorFile) -> dict[str, Any]:
    meta = file.meta or {}
    keys = ("method", "options", "seed", "parent")
    return {key: meta.get(key) for key in keys} | {"scores": file.sha256, "versions": versions()}


def _facts(selection: Selection, kept: Mask, before: TensorFile | None) -> dict[str, Any]:
    return {
        "scope": selection.scope,
        "rounds": selection.rounds,
        "schedule": selection.schedule if selection.rounds > 1 else None,
        "asked": selection.density,
        "total": sum(bits.numel() for bits in kept.values()),
        "kept": sum(kept_counts(kept).values()),
        "density": density_facts(kept),
        "mask": before.sha256 if before else None,
    }


def _report_dead_layers(kept: Mask, selection: Selection, common: Common) -> None:
    dead = dead_layers(kept)
    if not dead:
        return
    message = f"no weight is left in {some(dead)}: nothing gets through"
    if not selection.allow_dead_layers:
        raise Mismatch(f"{message}; raise the density, or choose another --scope or --method")
    common.progress.warn(message)


def _output_name(source: Path, selection: Selection, scoring: Scoring | None) -> Path:
    method = f".{file_word(scoring.method)}" if scoring else ""
    scope = "" if selection.scope == "global" else f".{selection.scope}"
    rounds = f".{selection.rounds}rounds" if selection.rounds > 1 else ""
    name = f"{stem(source)}{method}{scope}{rounds}.{selection.density:.6g}.mask.safetensors"
    return sibling(source, name)
