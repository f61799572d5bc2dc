"""The data sets that torchvision downloads and checks."""

from __future__ import annotations

import io
import sys
from contextlib import AbstractContextManager, nullcontext, redirect_stderr
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from prunecli.data._trees import find_split, read_tree
from prunecli.errors import BadEnvironment, BadInput, printable, reason
from prunecli.runtime.shortage import raise_shortage
from prunecli.types import Stream

ADVICE = ". You can use download=True"
"""Where torchvision's errors begin to speak of its own arguments."""


def read_named(
    name: str,
    dataset: str,
    root: Path,
    split: str,
    download: bool,
    *,
    mode: str,
    classes: int,
) -> tuple[Tensor | Stream, Tensor, list[str], tuple[str, ...]]:
    """A named data set from `ROOT/NAME/{train,test}/CLASS/*`, or from torchvision's own files.

    These are images, labels, class names and notes, as of `read_tree`. `dataset` is the name of
    torchvision's class for it.

    Raises BadEnvironment, with the command that fixes it, if neither is complete, and
    BadInput if a tree does not have as many classes as the data set, Mismatch if its splits differ.
    """
    if folder := find_split(root, name, split):
        other = root / name / ("test" if split == "train" else "train")
        tree = read_tree(folder, mode, others=[other])
        if len(tree[2]) != classes:
            raise BadInput(
                f"{printable(str(folder))}: {name!r} has {classes} classes, not {len(tree[2])}"
            )
        return tree
    datasets = import_module("torchvision.datasets")  # takes long, so only where it is needed
    try:
        with _bar_on_terminals():
            source = getattr(datasets, dataset)(root, train=split == "train", download=download)
        return *_checked(source.data, source.targets, source.classes, classes), ()
    except Exception as error:  # whatever torchvision makes of half a download
        raise_shortage(error)
        what = "it is missing or incomplete"
        mend = "download it with --download or PRUNECLI_DOWNLOAD=1"
        if download:  # which leaves files alone that are there, whatever they hold
            what, mend = (
                "the download failed, or the existing files are damaged",
                "delete it and try again",
            )
        why = printable((reason(error) or type(error).__name__).splitlines()[0])
        why = why.partition(ADVICE)[0]
        raise BadEnvironment(
            f"data set {name!r} under {printable(str(root))}: {what} ({why}); {mend}, "
            "or give its folder with --data-dir or PRUNECLI_DATA_DIR"
        ) from None


def _bar_on_terminals() -> AbstractContextManager[object]:
    """Have torchvision draw its bar of a download where there is a terminal, and not elsewhere."""
    return nullcontext() if sys.stderr.isatty() else redirect_stderr(io.StringIO())


def _checked(data: Any, targets: Any, names: Any, classes: int) -> tuple[Tensor, Tensor, list[str]]:
    """What torchvision read, in our form. Raises ValueError where that cannot be of the data set.

    Of some files it checks no more than that they are there.
    """
    images, labels = torch.as_tensor(data), torch.as_tensor(targets)
    if images.ndim == 3:
        images = images[..., None]
    if (images.dtype, images.ndim, labels.dtype) != (torch.uint8, 4, torch.int64):
        raise ValueError("it has no images or no labels")
    if labels.shape != images.shape[:1] or not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError("its labels do not fit its images or classes")
    # CIFAR's are a transposed view; whoever hashes or pads them wants them laid out as they look.
    return images.contiguous(), labels, [str(name) for name in names]
