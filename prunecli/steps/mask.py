"""`mask`: from scores to which weights stay, in one go or in rounds."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from prunecli.errors import BadUsage, Mismatch, some
from prunecli.files.artifacts import (
    MaskFile,
    kind_of,
    open_artifact,
    write_mask,
)
from prunecli.files.atomic import refusals
from prunecli.files.bits import Packed
from prunecli.files.claims import check_output, claimed
from prunecli.files.names import sibling, stem
from prunecli.files.records import (
    CheckpointRecord,
    Described,
    MaskRecord,
    ModelRecord,
    ScoresRecord,
    TiesRecord,
)
from prunecli.files.roles import layouts_of
from prunecli.files.tensors import TensorFile
from prunecli.masks.critical import critical
from prunecli.masks.fitting import fitting_mask
from prunecli.masks.left import density_from
from prunecli.masks.mask import density
from prunecli.masks.select import Ties
from prunecli.network import coverage
from prunecli.network.diagnosis import collapse_facts
from prunecli.plugins import registry
from prunecli.scoring.scored import Scored, Scoring, file_word, record_of_scores
from prunecli.settings.common import Common
from prunecli.steps._budget import Budget
from prunecli.steps._selection import Selection, check_told, pruning
from prunecli.tensors.parts import Parted

REMOVED = "an earlier mask has removed all of its weights"


def mask(
    source: Path,
    selection: Selection,
    scoring: Scoring | None,
    previous: Path | None,
    common: Common,
) -> Path:
    """Keep exactly round(density * n) of n weights, the highest scores, and write the mask.

    From a score file, the scores in it decide. From a checkpoint, `scoring` says how to score it;
    in `rounds`, each scores the network as the mask of the round before left it. A `previous` mask
    is never outgrown.
    """
    scoring = scoring or Scoring()
    file = open_artifact(source, "scores", "checkpoint")
    _check_asked(file, selection, scoring)
    before = fitting_mask(previous, file) if previous else None
    scorer = Scored(file, scoring, common) if kind_of(file) == "checkpoint" else None
    names = scoring.names(file)
    if before is not None:
        _check_same(before, names, file.label)
    shapes = {name: file.shapes[name] for name in names}
    selection = selection.of(scorer, shapes, file)
    budget = Budget.of(file, names, selection)
    if before is not None and selection.pattern is None and not selection.decided:
        _check_room(before, budget.density or 1.0)
    if scorer and before is None and not selection.decided:
        _warn_if_masked(file, common)
    output = common.output or _output_name(source, selection, scoring)
    inputs = file.places + (before.file.places if before else [])
    check_output(output, inputs, force=common.force)
    if common.dry_run:
        return output
    with claimed(output, inputs, force=common.force, wait=common.wait) as target:
        file.hash_ahead()
        pruned = pruning(scorer, file, names, selection, before, common)
        with refusals(str(output)):
            found = (
                pruned(budget.density or 1.0)
                if not selection.is_critical
                else critical(pruned, shapes, selection.allocation, selection.rounds)
            )
            kept = Packed(found, target.parent)
        if not any(kept.kept.values()):  # as a pattern leaves of scores that are all -inf
            why = "its weights are all zero" if selection.decided and before is None else REMOVED
            raise Mismatch(f"{file.label}: {why}")
        if selection.pattern is not None:
            check_told(found.ties, file)
        described = file.says(Described).model
        _warn_if_unknown(described, common)
        scores = scorer.record() if scorer else record_of_scores(file, scoring, names)
        record = replace(
            _record(scores, selection, kept, budget, before),
            scores=None if scorer else file.sha256,
            ties=TiesRecord(equal=found.ties.equal, kept=found.ties.kept),
            collapse=collapse_facts(kept, described, file.shapes, layouts_of(file, names)),
        )
        _report(record, selection, common)
        _warn_of_ties(found.ties, sum(kept.kept.values()), common)
        if record.left_whole:
            coverage.tell(record.left_whole, common.progress)
        write_mask(target, kept, record)
    return output


def _check_asked(file: TensorFile, selection: Selection, scoring: Scoring) -> None:
    """Raise BadUsage where a checkpoint is not to be scored, or scores are."""
    if kind_of(file) == "checkpoint":
        if scoring.method is None:
            raise BadUsage(f"{file.label}: it is a checkpoint; say how to score it with --method")
        return
    if scoring.method is not None or (selection.rounds or 1) > 1:
        raise BadUsage(f"{file.label}: it holds scores; --method and --rounds need the checkpoint")
    said = {"opt": scoring.options, "dataset": scoring.source.dataset}
    if idle := [name for name, value in said.items() if value not in (None, {})]:
        raise BadUsage(f"{file.label}: it holds scores; --{idle[0]} is for scoring a checkpoint")


def _check_room(before: Parted, asked: float) -> None:
    """Raise BadUsage unless an earlier mask keeps as much as is asked for."""
    if asked > density(before):
        raise BadUsage(
            f"the earlier mask keeps less than a density of {asked:g} already; "
            "ask for a lower density"
        )


def _warn_if_masked(file: TensorFile, common: Common) -> None:
    if file.says(CheckpointRecord).mask:
        common.progress.warn(
            "the checkpoint is masked but no --mask was given: what was pruned counts as left"
        )


def _warn_if_unknown(described: ModelRecord | None, common: Common) -> None:
    """Say that a network is not looked at, where only a file names its code."""
    if described and not registry.may_find("models", described.name):
        name = described.name
        common.progress.warn(
            f"only a file names the network {name!r}, so it is not built: whether any path is "
            f"left is not known (--trust {name})"
        )


SEEN = 0.01
"""Ties left out that are worth a warning, as a part of what is kept."""


def _check_same(before: Parted, names: list[str], label: str) -> None:
    """Masks nest over the same weights only: what the new one left out would grow back."""
    if odd := sorted(before.shapes.keys() ^ set(names)):
        raise Mismatch(f"{label}: only one of what is scored and --mask covers {some(odd)}")


def _record(
    scores: ScoresRecord,
    selection: Selection,
    kept: Packed,
    budget: Budget,
    before: MaskFile | None,
) -> MaskRecord:
    """What a mask says of how it was chosen, and what such scores say."""
    left = sum(kept.kept.values()) + budget.others
    sizes = {name: math.prod(shape) for name, shape in kept.shapes.items()}
    own = {
        "left_out": {**(scores.left_out or {}), **selection.left_out},
        "mask": before.file.sha256 if before else None,
    }
    return MaskRecord(
        **scores.part(MaskRecord) | own,
        scope=selection.scope,
        rounds=selection.rounds,
        schedule=selection.schedule if selection.rounds != 1 else None,
        critical=selection.is_critical,
        asked=selection.density or left / budget.whole,
        count=selection.count,
        total=budget.whole,
        kept=left,
        density=density_from(kept.kept, sizes),
        scores=None,
        ties=None,
        collapse=None,
        shapes=None,
    )


def _report(record: MaskRecord, selection: Selection, common: Common) -> None:
    """Say what was reached, and warn of what nothing gets through."""
    assert record.collapse and record.total and record.kept and record.asked, "as was written"
    collapse, total, left = record.collapse, record.total, record.kept
    ratio = total / left
    common.progress.detail(
        f"kept {left:,} of {total:,}: {ratio:.6g}x, compression error "
        f"{ratio * record.asked - 1:+.2g}; highest without an empty layer: "
        f"{collapse['max_compression']:.6g}x of the scored weights"
    )
    if (effective := collapse["effective_density"]) is not None:
        common.progress.detail(f"density of the weights on live paths: {effective:.6g}")
    if selection.is_critical:
        common.progress.say(f"critical compression: {ratio:.6g}x")
    if dead := collapse["dead_layers"]:
        through = {True: ": only shortcuts lead past", False: ": nothing gets through", None: ""}
        message = f"no weight is left in {some(dead)}{through[collapse['live_path']]}"
        if not selection.allow_dead_layers:
            raise Mismatch(f"{message}; raise the density, or choose another --scope or --method")
        common.progress.warn(message)
    elif collapse["live_path"] is False:
        common.progress.warn("no path of kept weights leads from input to output")


def _warn_of_ties(ties: Ties, kept: int, common: Common) -> None:
    """Where more than 1% of what is kept might as well be others."""
    if ties.left_out > SEEN * kept:
        common.progress.warn(
            f"{ties.equal:,} scores are equal where the cut lies, and {ties.kept:,} of them were "
            "kept: those that come first, for the scores do not say which; choose another "
            "--method or density"
        )


def _output_name(source: Path, selection: Selection, scoring: Scoring) -> Path:
    method = f".{file_word(scoring.method)}" if scoring.method else ""
    scope = "" if selection.scope == "global" else f".{selection.scope.replace(':', 'of')}"
    rounds = f".{selection.rounds}rounds" if selection.rounds != 1 else ""
    asked = ".critical" if selection.is_critical else f".{selection.density or 0:.6g}"
    asked = "" if selection.decided else asked
    name = f"{stem(source)}{method}{scope}{rounds}{asked}.mask.safetensors"
    return sibling(source, name)
