"""What callers may give in place of a checkpoint, scores, a mask or a data set."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from prunecli.api.artifacts import Artifact, Checkpoint, Mask, Scores
from prunecli.errors import BadUsage, Mismatch
from prunecli.files.artifacts import MaskFile, mask_tensors, metadata, untied, with_shapes
from prunecli.files.tensors import TensorFile
from prunecli.files.unwritten import Unwritten
from prunecli.images.source import Source, check_data_fits, sound
from prunecli.masks.left import density_facts
from prunecli.network.modules import check_storable
from prunecli.network.structure import structure
from prunecli.plugins.trust import trust
from prunecli.runtime.progress import Progress
from prunecli.runtime.versions import versions
from prunecli.types import Images

Network: TypeAlias = "Checkpoint | nn.Module | Mapping[str, Tensor]"
"""A checkpoint, any module, or plain tensors by name."""
Data: TypeAlias = "str | Images"
"""The name of a data set, or images in memory."""
M = TypeVar("M", bound=nn.Module)


class Warned(Progress):
    """Tells what is probably not wanted as Python's warnings, and keeps silent otherwise."""

    def warn(self, message: str) -> None:
        """As of the line that called prunecli."""
        frame, depth = sys._getframe(), 1
        while frame.f_back and frame.f_globals["__name__"].startswith("prunecli."):
            frame, depth = frame.f_back, depth + 1
        warnings.warn(message, UserWarning, stacklevel=depth)


@dataclass(frozen=True)
class InMemory(Source):
    """Images that are there already, and have no name."""

    images: Images | None = None

    def resolved(self, meta: Mapping[str, Any] | None) -> Source:
        return self

    def load(
        self,
        split: str,
        meta: Mapping[str, Any] | None = None,
        progress: Progress | None = None,
    ) -> Images:
        assert self.images is not None, "made by `source_of`"
        if meta is not None:
            check_data_fits(meta, self.images)
        return self.images


def source_of(data: Data | None) -> Source:
    """Where images come from; None stands for the checkpoint's own data set."""
    if isinstance(data, Images):
        return InMemory(images=sound(data, "given"))
    return Source(named(data) if data is not None else None)


def named(plugin: str) -> str:
    """A plugin's name, which the caller gave: so an import path may be followed."""
    trust([plugin] if ":" in plugin else [])
    return plugin


def checkpoint_of(given: object) -> Checkpoint:
    """The checkpoint that is given, or would be written of what is."""
    if isinstance(given, Checkpoint):
        return given
    if isinstance(given, nn.Module):
        return Checkpoint(file_of_module(given, {}), given)
    if isinstance(given, Mapping) and not isinstance(given, Artifact):
        return Checkpoint(Unwritten(given, {}, "the tensors"))
    raise BadUsage(f"{type(given).__name__} is no Checkpoint, no module and no tensors by name")


def file_of_module(model: nn.Module, more: Mapping[str, Any]) -> TensorFile:
    """The checkpoint that a module would be, which says what is in it, and `more`."""
    label = f"the module {type(model).__name__!r}"
    check_storable(model, label)
    tensors, tied = untied(model.state_dict())
    facts = {"model": None, **more, **structure(model), "tied": tied, "versions": versions()}
    return Unwritten(tensors, metadata("checkpoint", facts), label)


def scores_of(given: object) -> Scores:
    """The scores that are given, or those of one's own."""
    if isinstance(given, Scores):
        return given
    if not isinstance(given, Mapping) or isinstance(given, Artifact):
        raise BadUsage("give Scores, or a tensor of scores by each weight's name; or a method")
    tensors = {name: each.detach().float().cpu() for name, each in given.items()}
    return Scores(Unwritten(tensors, metadata("scores", {}), "the scores"))


def mask_of(given: Mask | Mapping[str, Tensor]) -> Mask:
    """The mask that is given, or that of bits of one's own."""
    if isinstance(given, Mask):
        return given
    bits = {name: each.detach().cpu() for name, each in given.items()}
    if odd := [name for name, each in bits.items() if each.dtype != torch.bool]:
        raise Mismatch(f"the mask of {odd[0]!r} is {bits[odd[0]].dtype}; masks are torch.bool")
    counts = density_facts(bits) if sum(map(torch.numel, bits.values())) else None
    return mask_with(bits, {"density": counts, "versions": versions()})


def mask_with(bits: Any, facts: Mapping[str, Any]) -> Mask:
    """The mask of these bits, by name or `Parted`, that says this of itself."""
    said = metadata("mask", with_shapes(bits, facts))
    return Mask(MaskFile(Unwritten(mask_tensors(bits), said, "the mask")))
