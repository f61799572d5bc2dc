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

    Returns images, labels, class names and notes, as `read_tree` does. `dataset` is the name of
    torchvision's class.

    Raises BadEnvironment, with the command that fixes it, if neither is complete, BadInput if the
    tree has another number of classes, Mismatch if its splits differ.
    """
    if folder := find_split(root, name, split):
        other = root / name / ("test" if split == "train" else "train")
        tree = read_tree(folder, mode, others=[other])
        if len(tree[2]) != classes:
            raise BadInput(
                f"{printable(str(folder))}: {name!r} has {classes} classes, not {len(tree[2])}"
            )
        return tree
    datasets = import_module("torchvision.datasets")  # slow, so only if needed
    try:
        with _bar_on_terminals():
            source = getattr(datasets, dataset)(root, train=split == "train", download=download)
        return *_checked(source.data, source.targets, source.classes, classes), ()
    except Exception as error:  # torchvision raises anything for a partial download
        raise_shortage(error)
        what = "it is missing or incomplete"
        mend = "download it with --download or PRUNECLI_DOWNLOAD=1"
        if download:  # it keeps existing files, even damaged ones
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
    """Show torchvision's download bar on a terminal only."""
    return nullcontext() if sys.stderr.isatty() else redirect_stderr(io.StringIO())


def _checked(data: Any, targets: Any, names: Any, classes: int) -> tuple[Tensor, Tensor, list[str]]:
    """Images, labels and class names. Raises ValueError if they cannot be the data set's.

    torchvision only checks that some of the files exist.
    """
    images, labels = torch.as_tensor(data), torch.as_tensor(targets)
    if images.ndim == 3:
        images = images[..., None]
    if (images.dtype, images.ndim, labels.dtype) != (torch.uint8, 4, torch.int64):
        raise ValueError("it has no images or no labels")
    if labels.shape != images.shape[:1] or not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError("its labels do not fit its images or classes")
    # CIFAR's are a transposed view; hashing and padding need them contiguous.
    return images.contiguous(), labels, [str(name) for name in names]
