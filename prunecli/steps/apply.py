"""`apply`: from a checkpoint and a mask to the checkpoint with the masked weights zeroed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prunecli.files.artifacts import open_artifact, write_artifact
from prunecli.files.atomic import check_output, claimed
from prunecli.masks import apply_, prunable_names
from prunecli.steps._common import (
    Common,
    left_over,
    mask_lineage,
    open_mask,
    sibling,
    stem,
    versions,
)


def apply(checkpoint: Path, mask: Path, common: Common) -> Path:
    """Write the checkpoint with every masked weight exactly +0.0; nothing else changes."""
    file = open_artifact(checkpoint, "checkpoint")
    kept, mask_file = open_mask(mask, file)
    output = common.output or sibling(checkpoint, f"{stem(mask)}.pruned.safetensors")
    inputs = file.places + mask_file.places
    check_output(output, inputs, force=common.force)
    if common.dry_run:
        return output
    with claimed(output, inputs, force=common.force, wait=common.wait) as target:
        tensors = {name: tensor.clone() for name, tensor in file.items()}
        apply_(tensors, kept)
        meta: dict[str, Any] = {
            "model": None,
            "seed": None,
            **(file.meta or {}),
            "parent": file.sha256,
            "prunable": prunable_names(file),
            "mask": mask_lineage(mask_file),
            "density": left_over(file, kept),
            "versions": versions(),
        }
        write_artifact(target, "checkpoint", tensors, meta)
    return output
