"""`apply`: from a checkpoint and a mask to the checkpoint with the masked weights zeroed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from prunecli.files.artifacts import open_artifact, write_artifact
from prunecli.files.atomic import check_output, claimed
from prunecli.masks import apply_, prunable_names
from prunecli.steps._common import Common, density_facts, mask_lineage, open_mask, stem, versions


def apply(checkpoint: Path, mask: Path, common: Common) -> Path:
    """Write the checkpoint with every masked weight exactly +0.0; nothing else changes."""
    file = open_artifact(checkpoint, "checkpoint")
    kept, mask_file = open_mask(mask, file)
    output = common.output or checkpoint.with_name(f"{stem(mask)}.pruned.safetensors")
    check_output(output, [checkpoint, mask], force=common.force)
    if common.dry_run:
        return output
    with claimed(output, [checkpoint, mask], force=common.force, wait=common.wait) as target:
        tensors = {name: tensor.clone() for name, tensor in file.items()}
        apply_(tensors, kept)
        names = prunable_names(file)
        whole = {n: torch.ones(file.shapes[n], dtype=torch.bool) for n in names if n not in kept}
        meta: dict[str, Any] = {
            "model": None,
            "seed": None,
            **(file.meta or {}),
            "parent": file.sha256,
            "prunable": names,
            "mask": mask_lineage(mask_file),
            "density": density_facts(kept | whole),
            "versions": versions(),
        }
        write_artifact(target, "checkpoint", tensors, meta)
    return output
