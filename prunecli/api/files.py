"""Reading and writing checkpoints, scores and masks: what the commands read and write."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

from torch import Tensor, nn

from prunecli.api import given
from prunecli.api.artifacts import Artifact, Checkpoint, Mask, Scores
from prunecli.api.networks import Network
from prunecli.api.pruning import apply
from prunecli.errors import BadUsage
from prunecli.files.artifacts import MaskFile, open_artifact
from prunecli.files.atomic import write_tensors
from prunecli.files.claims import claimed
from prunecli.files.records import DatasetRecord
from prunecli.files.tensors import TensorFile
from prunecli.files.unwritten import Unwritten, taken
from prunecli.plugins.resolve import resolve

Where: TypeAlias = "str | PathLike[str]"


def read_checkpoint(path: Where) -> Checkpoint:
    """The checkpoint in a file or folder: prunecli's or any other safetensors, sharded or not.

    Only headers are read at first. Raises BadInput for anything but a valid checkpoint.

    >>> model = prunecli.Network("cnn", (1, 28, 28), 10).build()
    >>> path = prunecli.write_checkpoint("cnn.safetensors", model)
    >>> len(prunecli.read_checkpoint(path))
    8
    """
    return Checkpoint(open_artifact(Path(path), "checkpoint"))


def read_scores(path: Where) -> Scores:
    """The scores in a file. Raises BadInput for anything but a valid score file.

    >>> model = prunecli.Network("cnn", (1, 28, 28), 10).build()
    >>> path = prunecli.write_scores("m.scores.safetensors", prunecli.score(model, "magnitude"))
    >>> prunecli.read_scores(path).record["method"]
    'magnitude'
    """
    return Scores(open_artifact(Path(path), "scores"))


def read_mask(path: Where) -> Mask:
    """The mask in a file. Raises BadInput for anything but a valid mask.

    >>> model = prunecli.Network("cnn", (1, 28, 28), 10).build()
    >>> mask = prunecli.mask(model, "magnitude", compression=100)
    >>> prunecli.read_mask(prunecli.write_mask("m.mask.safetensors", mask)).kept
    4305
    """
    return Mask(MaskFile(open_artifact(Path(path), "mask")))


def write_checkpoint(
    path: Where,
    what: given.Network,
    *,
    network: Network | None = None,
    data: str | None = None,
    mask: Mask | Mapping[str, Tensor] | None = None,
    force: bool = False,
) -> Path:
    """Write a checkpoint atomically; returns its path.

    A `Checkpoint` that was read is written with the same bytes. For a module, the file records
    which weights are prunable. With `network`, commands can build the module from the file; with
    `data`, the name of a data set, they know what to score and evaluate it on. With a mask, weights
    that it removes are written as +0.0. Plain tensors are written unchanged.

    Raises BadOutput if the file exists (without `force`) or cannot be written, Mismatch if a mask
    or network does not fit, and BadUsage for an unknown data set, or for a network or data set
    without a module.

    >>> network = prunecli.Network("cnn", (1, 28, 28), 10)
    >>> path = prunecli.write_checkpoint(
    ...     "cnn.safetensors", network.build(), network=network, data="digits"
    ... )
    >>> type(prunecli.read_checkpoint(path).model()).__name__
    'Sequential'
    """
    checkpoint = _told(what, network, data)
    return _write(path, checkpoint if mask is None else apply(checkpoint, mask), force)


def _told(what: given.Network, network: Network | None, data: str | None) -> Checkpoint:
    if network is None and data is None:
        return given.checkpoint_of(what)
    if not isinstance(what, nn.Module):
        raise BadUsage("network= and data= describe a module, and a checkpoint describes itself")
    more: dict[str, Any] = {}
    if network is not None:
        network.check(what)
        more["model"] = network.record
    if data is not None:
        name = resolve("data", given.named(data), by_file=False).name
        more["dataset"] = DatasetRecord(name=name, options={}, sha256=None)
    return Checkpoint(given.file_of_module(what, more), what)


def write_scores(
    path: Where, scores: Scores | Mapping[str, Tensor], *, force: bool = False
) -> Path:
    """Write scores, or your own tensors by weight name, for `prunecli mask`; returns the path.

    Raises BadOutput if the file exists (without `force`) or cannot be written.

    >>> model = prunecli.Network("cnn", (1, 28, 28), 10).build()
    >>> own = {"fc1.weight": model.fc1.weight.square()}
    >>> prunecli.write_scores("own.scores.safetensors", own).name
    'own.scores.safetensors'
    """
    return _write(path, given.scores_of(scores), force)


def write_mask(path: Where, mask: Mask | Mapping[str, Tensor], *, force: bool = False) -> Path:
    """Write a mask, or your own bool tensors by weight name, for `--mask`; returns the path.

    Raises BadOutput if the file exists (without `force`) or cannot be written, and Mismatch for
    tensors that are not torch.bool.

    >>> own = {"fc2.weight": torch.rand(10, 500) > 0.5}
    >>> path = prunecli.write_mask("own.mask.safetensors", own)
    >>> torch.equal(prunecli.read_mask(path)["fc2.weight"], own["fc2.weight"])
    True
    """
    return _write(path, given.mask_of(mask), force)


def _write(path: Where, artifact: Artifact, force: bool) -> Path:
    file, output = artifact._file, Path(path)
    with claimed(output, file.paths, force=force) as target:
        write_tensors(target, _tensors(file), file.metadata)
    return output


def _tensors(file: TensorFile) -> Mapping[str, Any]:
    """The tensors to write, in the order of the file."""
    return file.made if isinstance(file, Unwritten) else {n: taken(file, n) for n in file}
