"""The data sets that torchvision downloads and checks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from prunecli.data._trees import find_split, read_tree
from prunecli.errors import BadEnvironment


def read_named(
    name: str, dataset: Callable[..., Any], root: Path, split: str, mode: str, download: bool
) -> tuple[Tensor, Tensor, list[str]]:
    """A named data set from `ROOT/NAME/{train,test}/CLASS/*`, or from torchvision's own files.

    Raises BadEnvironment, with the command that mends it, if neither is there and complete.
    """
    if folder := find_split(root, name, split):
        return read_tree(folder, mode)
    try:
        source = dataset(root, train=split == "train", download=download)
    except (RuntimeError, OSError, ValueError) as error:
        reason = "the download failed" if download else "it is not there or not complete"
        raise BadEnvironment(
            f"data set {name!r} under {root}: {reason} ({str(error).splitlines()[0]}); "
            "get it with --download, or name its place with --data-dir"
        ) from None
    images = torch.as_tensor(source.data)
    if images.ndim == 3:
        images = images[..., None]
    return images, torch.as_tensor(source.targets), [str(c) for c in source.classes]
