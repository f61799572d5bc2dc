"""`score`: from a checkpoint to the importance of its weights."""

from __future__ import annotations

from pathlib import Path

from prunecli.files.artifacts import open_artifact
from prunecli.files.atomic import write_tensors
from prunecli.files.claims import check_output, claimed
from prunecli.files.names import file_word, sibling, stem
from prunecli.files.stages import write_in_stages
from prunecli.masks.fitting import fitting_mask
from prunecli.scoring.scored import Scored
from prunecli.settings.run import RunOptions
from prunecli.settings.scoring import ScoreSettings


def score(checkpoint: Path, settings: ScoreSettings, run: RunOptions) -> Path:
    """Score a checkpoint's prunable weights and write them, higher = keep.

    With a mask, the weights it removed are zero while scoring and score -inf in the file. Where
    weights alone decide, a large file that was stopped is gone on with.
    """
    file = open_artifact(checkpoint, "checkpoint")
    before = fitting_mask(settings.mask, file) if settings.mask else None
    method = file_word(settings.method or "")
    output = run.output or sibling(checkpoint, f"{stem(checkpoint)}.{method}.scores.safetensors")
    inputs = file.paths + (before.file.paths if before else [])
    check_output(output, inputs, force=run.force)
    scorer = Scored(file, settings, run)
    if run.dry_run:
        return output
    staged = scorer.is_known
    claim = claimed(output, inputs, force=run.force, wait=run.wait, in_stages=staged)
    with claim as target:
        file.hash_ahead()
        write = write_in_stages if staged else write_tensors
        write(target, *scorer.artifact(before))
    return output
