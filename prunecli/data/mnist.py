from __future__ import annotations

from pathlib import Path

from prunecli.data._subset import subset
from prunecli.data._torchvision import read_named
from prunecli.types import Images


def mnist(root: Path, split: str, download: bool = False, *, fraction: float = 1.0) -> Images:
    """70,000 handwritten digits, 28x28 grey, 10 classes.

    `fraction` keeps that fraction of every class of the training set.

    Source: LeCun et al., Gradient-based learning applied to document recognition, 1998
    """
    images, labels, _, notes = read_named(
        "mnist", "MNIST", root, split, download, mode="L", classes=10
    )
    classes = [str(label) for label in range(10)]
    data = Images(images, labels, classes, mean=[0.1307], std=[0.3081], notes=notes)
    return subset(data, split, fraction)
