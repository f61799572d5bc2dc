"""The arguments that callers can give as a checkpoint, scores, a mask or a data set."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from prunecli.api.artifacts import Artifact, Checkpoint, Mask, Scores
from prunecli.errors import BadUsage, Mismatch
from prunecli.files.artifacts import MaskFile, mask_tensors, metadata, untied
from prunecli.files.parsing import parsed, with_nulls
from prunecli.files.records import CheckpointRecord, MaskRecord, ScoresRecord
from prunecli.files.tensors import TensorFile
from prunecli.files.unwritten import Unwritten
from prunecli.images.source import GivenImages, Source, sound
from prunecli.masks.left import density_of
from prunecli.network.modules import check_storable
from prunecli.network.structure import structure
from prunecli.plugins.trust import trust
from prunecli.runtime.progress import Progress
from prunecli.runtime.versions import versions
from prunecli.settings.data import DataSettings
from prunecli.tensors.parts import Parted, parted
from prunecli.types import Images

Network: TypeAlias = "Checkpoint | nn.Module | Mapping[str, Tensor]"
"""A checkpoint, any module, or plain tensors by name."""
Data: TypeAlias = "str | Images"
"""The name of a data set, or images in memory."""
M = TypeVar("M", bound=nn.Module)


class Warned(Progress):
    """Turns warnings into Python warnings and drops all other messages."""

    def warn(self, message: str) -> None:
        """Issue the warning at the line that called prunecli."""
        frame, depth = sys._getframe(), 1
        while frame.f_back and frame.f_globals["__name__"].startswith("prunecli."):
            frame, depth = frame.f_back, depth + 1
        warnings.warn(message, UserWarning, stacklevel=depth)


def data_of(data: Data | None) -> DataSettings:
    """The settings of the data set; without a name, those of the checkpoint's own."""
    return DataSettings(None if data is None or isinstance(data, Images) else named(data))


def images_of(data: Data | None) -> GivenImages | None:
    """The images, if images were given and not the name of a data set."""
    return GivenImages(sound(data, "given")) if isinstance(data, Images) else None


def loaded(data: Data | None, split: str) -> Images:
    """The given images, or those of a data set's split. Raises BadUsage for None."""
    if data is None:
        raise BadUsage("no data set is given; choose one with data=")
    return (images_of(data) or Source.of(data_of(data), None)).load(split)


def named(plugin: object) -> str:
    """The name of a plugin. The caller gave it, so an import path is trusted.

    Raises BadUsage if it is not a name.
    """
    if not isinstance(plugin, str):
        raise BadUsage(f"give a name, not {type(plugin).__name__}")
    trust([plugin] if ":" in plugin else [])
    return plugin


def checkpoint_of(given: object) -> Checkpoint:
    """The given checkpoint, or the one that the given module or tensors would be written as."""
    if isinstance(given, Checkpoint):
        return given
    if isinstance(given, nn.Module):
        return Checkpoint(file_of_module(given, {}), given)
    if isinstance(given, Mapping) and not isinstance(given, Artifact):
        return Checkpoint(Unwritten(given, {}, "the tensors"))
    raise BadUsage(f"{type(given).__name__} is not a Checkpoint, a module or tensors by name")


def file_of_module(model: nn.Module, more: Mapping[str, Any]) -> TensorFile:
    """The checkpoint that a module would be written as, with `more` in its metadata."""
    label = f"the module {type(model).__name__!r}"
    check_storable(model, label)
    tensors, tied = untied(model.state_dict())
    record = replace(
        parsed(CheckpointRecord, {}), **structure(model), **more, tied=tied, versions=versions()
    )
    return Unwritten(tensors, metadata(with_nulls(record, "model")), label)


def scores_of(given: object) -> Scores:
    """The given scores, or scores from the caller's own tensors."""
    if isinstance(given, Scores):
        return given
    if not isinstance(given, Mapping) or isinstance(given, Artifact):
        raise BadUsage("give Scores, tensors of scores by weight name, or a method")
    tensors = {name: each.float() for name, each in _tensors(given, "the scores").items()}
    return Scores(Unwritten(tensors, metadata(parsed(ScoresRecord, {})), "the scores"))


def mask_of(given: object) -> Mask:
    """The given mask, or a mask from the caller's own bool tensors."""
    if isinstance(given, Mask):
        return given
    if not isinstance(given, Mapping):
        raise BadUsage(f"{type(given).__name__} is not a Mask or bool tensors by weight name")
    bits = _tensors(given, "the mask")
    if odd := [name for name, each in bits.items() if each.dtype != torch.bool]:
        raise Mismatch(f"the mask of {odd[0]!r} is {bits[odd[0]].dtype}; masks are torch.bool")
    counts = density_of(bits) if sum(map(torch.numel, bits.values())) else None
    return mask_with(bits, replace(parsed(MaskRecord, {}), density=counts, versions=versions()))


def _tensors(given: Mapping[str, Any], label: str) -> dict[str, Tensor]:
    """The tensors on the CPU. Raises Mismatch for anything that is not a tensor."""
    if odd := [name for name, each in given.items() if not isinstance(each, Tensor)]:
        raise Mismatch(f"{label} of {odd[0]!r} is not a tensor but {type(given[odd[0]]).__name__}")
    return {name: each.detach().cpu() for name, each in given.items()}


def mask_with(bits: Parted | Mapping[str, Tensor], record: MaskRecord) -> Mask:
    """A mask with these bits and this metadata."""
    said = metadata(replace(record, shapes=parted(bits).shapes))
    return Mask(MaskFile(Unwritten(mask_tensors(parted(bits)), said, "the mask")))
