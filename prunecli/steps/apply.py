"""`apply`: from a checkpoint and a mask to the checkpoint with the masked weights zeroed."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from prunecli.errors import BadInput, some
from prunecli.files.artifacts import MaskFile, open_artifact
from prunecli.files.atomic import write_tensors, write_text
from prunecli.files.claims import check_output, claimed
from prunecli.files.folders import check_folder, claimed_folder, copy_others, model_folder
from prunecli.files.header import read_header
from prunecli.files.names import SUFFIX, sibling, stem
from prunecli.files.stages import write_in_stages
from prunecli.files.tensors import TensorFile
from prunecli.masks.applied import described, masked
from prunecli.masks.fitting import fitting_mask
from prunecli.settings.run import RunOptions
from prunecli.tensors.parts import one_thread


@one_thread()
def apply(checkpoint: Path, mask: Path, run: RunOptions) -> Path:
    """Write the checkpoint with every masked weight exactly +0.0; nothing else changes.

    A folder becomes a folder of shards of the same names, with the files beside them that are no
    weights; or a single file, if the output is named like one. What was stopped is gone on with:
    shards, or stages of a file, that came of the same checkpoint and mask are kept.
    """
    file = open_artifact(checkpoint, "checkpoint")
    kept = fitting_mask(mask, file)
    suffix = "" if file.folder else SUFFIX
    output = run.output or sibling(checkpoint, f"{stem(mask)}.pruned{suffix}")
    inputs = file.paths + kept.file.paths
    in_shards = file.folder is not None and output.suffix != SUFFIX
    (check_folder if in_shards else check_output)(output, inputs, force=run.force)
    if not file.folder and output.suffix != SUFFIX and model_folder(checkpoint):
        run.progress.warn("files beside it are not copied; give the folder instead")
    if run.dry_run:
        return output
    if in_shards:
        with claimed_folder(output, inputs, wait=run.wait) as begin:
            text = described(file, kept)
            _write_folder(begin(text), file, kept, text, run)
    else:
        claim = claimed(output, inputs, force=run.force, wait=run.wait, in_stages=True)
        with claim as target:
            text = described(file, kept)
            tensors = {name: masked(file, kept, name) for name in file}
            write_in_stages(target, tensors, {**file.metadata, "prunecli": text})
    return output


def _write_folder(
    folder: Path, file: TensorFile, kept: MaskFile, text: str, run: RunOptions
) -> None:
    """Write each shard atomically, then copy the other files of the checkpoint's folder."""
    for done, (shard, header) in enumerate(file.shards.items(), 1):
        target = folder / shard.name
        if not _is_there(target, text):
            tensors = {name: masked(file, kept, name) for name in file.within(shard)}
            write_tensors(target, tensors, {**header.metadata, "prunecli": text})
        run.progress.advance("shards", done, len(file.shards))
    assert file.folder is not None, "only a folder is written as one"
    left = copy_others(file.folder, folder, [shard.name for shard in file.shards])
    if file.index and file.pairs:
        write_text(folder / file.index.name, _index(file))
    if left:
        run.progress.warn(f"folders beside the shards are not copied: {some(left)}")


def _index(file: TensorFile) -> str:
    """The index: where each tensor is once no pairs of tensors are left; see `TensorFile.pairs`."""
    size = sum(file.entry(name).end - file.entry(name).start for name in file)
    weight_map = {name: shard.name for shard in file.shards for name in file.within(shard)}
    return json.dumps({"metadata": {"total_size": size}, "weight_map": weight_map}, indent=2)


def _is_there(shard: Path, text: str) -> bool:
    """Whether a run that was stopped has written it: of this checkpoint and with this mask."""
    with suppress(BadInput):
        return read_header(shard).metadata.get("prunecli") == text
    return False
