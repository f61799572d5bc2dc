"""`score`: from a checkpoint to the importance of its weights."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch

from prunecli.files.artifacts import metadata, open_artifact
from prunecli.files.atomic import write_tensors
from prunecli.files.claims import check_output, claimed
from prunecli.files.names import sibling, stem
from prunecli.files.stages import write_in_stages
from prunecli.masks.fitting import fitting_mask
from prunecli.scoring.scored import Scored, Scoring, file_word
from prunecli.settings.common import Common
from prunecli.tensors.parts import Made


def score(checkpoint: Path, scoring: Scoring, mask: Path | None, common: Common) -> Path:
    """Score a checkpoint's prunable weights and write them, higher = keep.

    With a mask, the weights it removed are zero while scoring and score -inf in the file. Where
    weights alone decide, a large file that was stopped is gone on with.
    """
    file = open_artifact(checkpoint, "checkpoint")
    before = fitting_mask(mask, file) if mask else None
    method = file_word(scoring.method or "")
    output = common.output or sibling(checkpoint, f"{stem(checkpoint)}.{method}.scores.safetensors")
    inputs = file.places + (before.file.places if before else [])
    check_output(output, inputs, force=common.force)
    scorer = Scored(file, scoring, common)
    if common.dry_run:
        return output
    staged = scorer.is_known
    claim = claimed(output, inputs, force=common.force, wait=common.wait, in_stages=staged)
    with claim as target:
        file.hash_ahead()
        scores = scorer(before)
        record = scorer.record(before.file.sha256 if before else None)
        made = {
            name: Made(torch.float32, shape, partial(scores.parts, name))
            for name, shape in scores.shapes.items()
        }
        write = write_in_stages if staged else write_tensors
        write(target, made, metadata(record))
    return output
