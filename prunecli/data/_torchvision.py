"""The data sets that torchvision downloads and checks."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor

from prunecli.data._trees import find_split, read_tree
from prunecli.errors import BadEnvironment, BadInput, reason
from prunecli.types import Stream


def read_named(
    name: str,
    dataset: str,
    root: Path,
    split: str,
    download: bool,
    *,
    mode: str,
    classes: int,
) -> tuple[Tensor | Stream, Tensor, list[str]]:
    """A named data set from `ROOT/NAME/{train,test}/CLASS/*`, or from torchvision's own files.

    `dataset` is the name of torchvision's class for it.

    Raises BadEnvironment, with the command that mends it, if neither is there and complete, and
    BadInput if a tree does not have as many classes as the data set.
    """
    if folder := find_split(root, name, split):
        tree = read_tree(folder, mode)
        if len(tree[2]) != classes:
            raise BadInput(f"{folder}: {name!r} has {classes} classes, not {len(tree[2])}")
        return tree
    datasets = import_module("torchvision.datasets")  # takes long, so only where it is needed
    try:
        source = getattr(datasets, dataset)(root, train=split == "train", download=download)
    except Exception as error:  # whatever torchvision makes of half a download
        what, mend = "it is not there or not complete", "get it with --download"
        if download:  # which leaves files alone that are there, whatever they hold
            what, mend = "the download failed, or what was there is damaged", "delete it, try again"
        why = (reason(error) or type(error).__name__).splitlines()[0]
        raise BadEnvironment(
            f"data set {name!r} under {root}: {what} ({why}); {mend}, "
            "or name its place with --data-dir"
        ) from None
    images = torch.as_tensor(source.data)
    if images.ndim == 3:
        images = images[..., None]
    # CIFAR's are a transposed view; whoever hashes or pads them wants them laid out as they look.
    images = images.contiguous()
    return images, torch.as_tensor(source.targets), [str(c) for c in source.classes]
