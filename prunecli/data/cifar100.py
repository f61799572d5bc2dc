from __future__ import annotations

from pathlib import Path

from prunecli.data._subset import subset
from prunecli.data._torchvision import read_named
from prunecli.types import Images


def cifar100(root: Path, split: str, download: bool = False, *, fraction: float = 1.0) -> Images:
    """60,000 photographs, 32x32 RGB, 100 classes; training uses 4-pixel shifts and mirroring.

    `fraction` keeps that fraction of every class of the training set.

    Source: Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009
    """
    images, labels, classes, notes = read_named(
        "cifar100", "CIFAR100", root, split, download, mode="RGB", classes=100
    )
    data = Images(
        images,
        labels,
        classes,
        mean=[0.5071, 0.4865, 0.4409],
        std=[0.2673, 0.2564, 0.2762],
        pad=4,
        flip=True,
        notes=notes,
    )
    return subset(data, split, fraction)
