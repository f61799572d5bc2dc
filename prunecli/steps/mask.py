"""`mask`: from scores to which weights stay, in one go or in rounds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
from prunecli.files.roles import layouts_of
from prunecli.files.tensors import TensorFile
from prunecli.masks.critical import critical
from prunecli.masks.fitting import fitting_mask
from prunecli.masks.left import facts_of
from prunecli.masks.mask import density
from prunecli.masks.select import Ties
from prunecli.network import coverage
from prunecli.network.diagnosis import collapse_facts
from prunecli.plugins import registry
from prunecli.scoring.scored import Scored, file_word, lineage_of_scores, names_of
from prunecli.settings.mask import SCOPES, MaskSettings
from prunecli.settings.run import RunOptions
from prunecli.settings.scoring import ScoringSettings
from prunecli.settings.table import flag_said
from prunecli.steps._budget import Budget
from prunecli.steps._selection import Selection, check_told, pruning
from prunecli.tensors.parts import Parted

REMOVED = "an earlier mask has removed all of its weights"


def mask(source: Path, settings: MaskSettings, run: RunOptions) -> Path:
    """Keep exactly round(density * n) of n weights, the highest scores, and write the mask.

    From a score file, the scores in it decide. From a checkpoint, `settings.scoring` says how to
    score it; in rounds, each scores the network as the mask of the round before left it. An earlier
    mask, `settings.mask`, is never outgrown.
    """
    settings = settings.complete()
    scoring, selection = settings.scoring, Selection.asked(settings)
    file = open_artifact(source, "scores", "checkpoint")
    _check_asked(file, selection, scoring)
    before = fitting_mask(settings.mask, file) if settings.mask else None
    scorer = Scored(file, scoring, run) if kind_of(file) == "checkpoint" else None
    names = names_of(scoring, file)
    if before is not None:
        _check_same(before, names, file.label)
    shapes = {name: file.shapes[name] for name in names}
    selection = selection.of(scorer, shapes, file)
    budget = Budget.of(file, names, selection)
    if before is not None and selection.pattern is None and not selection.decided:
        _check_room(before, budget.density or 1.0)
    if scorer and before is None and not selection.decided:
        _warn_if_masked(file, run)
    output = run.output or _output_name(source, selection, scoring)
    inputs = file.places + (before.file.places if before else [])
    check_output(output, inputs, force=run.force)
    if run.dry_run:
        return output
    with claimed(output, inputs, force=run.force, wait=run.wait) as target:
        file.hash_ahead()
        pruned = pruning(scorer, file, names, selection, before, run)
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
        facts = _facts(selection, kept, budget, before) | {"ties": _ties_facts(found.ties)}
        described = (file.meta or {}).get("model")
        _warn_if_unknown(described, run)
        facts["collapse"] = collapse_facts(kept, described, file.shapes, layouts_of(file, names))
        _report(facts, selection, run)
        _warn_of_ties(found.ties, sum(kept.kept.values()), run)
        lineage = _lineage(scorer, file, scoring, names)
        if lineage["left_whole"]:
            coverage.tell(lineage["left_whole"], run.progress)
        left_out = {"left_out": lineage["left_out"] | selection.left_out}
        write_mask(target, kept, lineage | facts | left_out)
    return output


def _check_asked(file: TensorFile, selection: Selection, scoring: ScoringSettings) -> None:
    """Raise BadUsage where a checkpoint is not to be scored, or scores are."""
    if kind_of(file) == "checkpoint":
        if scoring.method is None:
            raise BadUsage(f"{file.label}: it is a checkpoint; say how to score it with --method")
        return
    if scoring.method is not None or (selection.rounds or 1) > 1:
        raise BadUsage(f"{file.label}: it holds scores; --method and --rounds need the checkpoint")
    idle = flag_said(scoring, "options") or flag_said(scoring.data, "dataset")
    if idle:
        raise BadUsage(f"{file.label}: it holds scores; {idle} is for scoring a checkpoint")


def _check_room(before: Parted, asked: float) -> None:
    """Raise BadUsage unless an earlier mask keeps as much as is asked for."""
    if asked > density(before):
        raise BadUsage(
            f"the earlier mask keeps less than a density of {asked:g} already; "
            "ask for a lower density"
        )


def _warn_if_masked(file: TensorFile, run: RunOptions) -> None:
    if (file.meta or {}).get("mask"):
        run.progress.warn(
            "the checkpoint is masked but no --mask was given: what was pruned counts as left"
        )


def _warn_if_unknown(described: Mapping[str, Any] | None, run: RunOptions) -> None:
    """Say that a network is not looked at, where only a file names its code."""
    if described and not registry.may_find("models", described["name"]):
        name = described["name"]
        run.progress.warn(
            f"only a file names the network {name!r}, so it is not built: whether any path is "
            f"left is not known (--trust {name})"
        )


SEEN = 0.01
"""Ties left out that are worth a warning, as a part of what is kept."""


def _check_same(before: Parted, names: list[str], label: str) -> None:
    """Masks nest over the same weights only: what the new one left out would grow back."""
    if odd := sorted(before.shapes.keys() ^ set(names)):
        raise Mismatch(f"{label}: only one of what is scored and --mask covers {some(odd)}")


def _lineage(
    scorer: Scored | None, file: TensorFile, scoring: ScoringSettings, names: list[str]
) -> dict[str, Any]:
    if scorer is None:
        return lineage_of_scores(file, scoring, names)
    return scorer.facts() | {"scores": None}


def _facts(
    selection: Selection, kept: Packed, budget: Budget, before: MaskFile | None
) -> dict[str, Any]:
    """`total`, `kept` and `asked` count as the density was asked for; `density` per tensor."""
    left = sum(kept.kept.values()) + budget.others
    sizes = {name: math.prod(shape) for name, shape in kept.shapes.items()}
    return {
        "scope": selection.scope,
        "rounds": selection.rounds,
        "schedule": selection.schedule if selection.rounds != 1 else None,
        "critical": selection.is_critical,
        "asked": selection.density or left / budget.whole,
        "count": selection.count,
        "total": budget.whole,
        "kept": left,
        "density": facts_of(kept.kept, sizes),
        "mask": before.file.sha256 if before else None,
    }


def _report(facts: dict[str, Any], selection: Selection, run: RunOptions) -> None:
    """Say what was reached, and warn of what nothing gets through."""
    collapse, total, left = facts["collapse"], facts["total"], facts["kept"]
    ratio = total / left
    run.progress.detail(
        f"kept {left:,} of {total:,}: {ratio:.6g}x, compression error "
        f"{ratio * facts['asked'] - 1:+.2g}; highest without an empty layer: "
        f"{collapse['max_compression']:.6g}x of the scored weights"
    )
    if (effective := collapse["effective_density"]) is not None:
        run.progress.detail(f"density of the weights on live paths: {effective:.6g}")
    if selection.is_critical:
        run.progress.say(f"critical compression: {ratio:.6g}x")
    if dead := collapse["dead_layers"]:
        through = {True: ": only shortcuts lead past", False: ": nothing gets through", None: ""}
        message = f"no weight is left in {some(dead)}{through[collapse['live_path']]}"
        if not selection.allow_dead_layers:
            raise Mismatch(f"{message}; raise the density, or choose another --scope or --method")
        run.progress.warn(message)
    elif collapse["live_path"] is False:
        run.progress.warn("no path of kept weights leads from input to output")


def _ties_facts(ties: Ties) -> dict[str, int]:
    return {"equal": ties.equal, "kept": ties.kept}


def _warn_of_ties(ties: Ties, kept: int, run: RunOptions) -> None:
    """Where more than 1% of what is kept might as well be others."""
    if ties.left_out > SEEN * kept:
        run.progress.warn(
            f"{ties.equal:,} scores are equal where the cut lies, and {ties.kept:,} of them were "
            "kept: those that come first, for the scores do not say which; choose another "
            "--method or density"
        )


def _output_name(source: Path, selection: Selection, scoring: ScoringSettings) -> Path:
    method = f".{file_word(scoring.method)}" if scoring.method else ""
    scope = "" if selection.scope == SCOPES[0] else f".{selection.scope.replace(':', 'of')}"
    rounds = f".{selection.rounds}rounds" if selection.rounds != 1 else ""
    asked = ".critical" if selection.is_critical else f".{selection.density or 0:.6g}"
    asked = "" if selection.decided else asked
    name = f"{stem(source)}{method}{scope}{rounds}{asked}.mask.safetensors"
    return sibling(source, name)
