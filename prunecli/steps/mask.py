"""`mask`: from scores to the weights to keep, in one round or several."""

from __future__ import annotations

from pathlib import Path

from prunecli.files.artifacts import open_artifact, write_mask
from prunecli.files.claims import check_output, claimed
from prunecli.files.names import file_word, sibling, stem
from prunecli.masks.fitting import fitting_mask
from prunecli.pruning.masking import Masking
from prunecli.pruning.selection import Selection
from prunecli.settings.mask import RULES, SCOPES, MaskSettings
from prunecli.settings.run import RunOptions
from prunecli.settings.scoring import ScoringSettings


def mask(source: Path, settings: MaskSettings, run: RunOptions) -> Path:
    """Keep exactly round(density * n) of n weights, the highest scores, and write the mask.

    From a score file, the scores in it decide. From a checkpoint, `settings.scoring` says how to
    score it; in rounds, each scores the network as the mask of the round before left it. An earlier
    mask, `settings.mask`, is never outgrown.
    """
    settings = settings.complete()
    scoring, selection = settings.scoring, Selection.asked(settings)
    file = open_artifact(source, "scores", "checkpoint")
    before = fitting_mask(settings.mask, file) if settings.mask else None
    masking = Masking.of(file, selection, scoring, before, run)
    output = run.output or _output_name(source, masking.selection, scoring)
    inputs = file.paths + (before.file.paths if before else [])
    check_output(output, inputs, force=run.force)
    if run.dry_run:
        return output
    with claimed(output, inputs, force=run.force, wait=run.wait) as target:
        write_mask(target, *masking.made(target.parent, str(output)))
    return output


def _output_name(source: Path, selection: Selection, scoring: ScoringSettings) -> Path:
    method = f".{file_word(scoring.method)}" if scoring.method else ""
    scope = "" if selection.scope == SCOPES[0] else f".{selection.scope.replace(':', 'of')}"
    rounds = f".{selection.rounds}rounds" if selection.rounds != 1 else ""
    rule = "" if selection.rule == RULES[0] else f".{selection.rule}"
    asked = ".critical" if selection.is_critical else f".{selection.density or 0:.6g}"
    asked = "" if selection.decided else asked
    name = f"{stem(source)}{method}{scope}{rounds}{rule}{asked}.mask.safetensors"
    return sibling(source, name)
