from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from prunecli.data._cache import cached
from prunecli.data._subset import subset
from prunecli.types import Images

FORMS = {"images": ("U8", (1797, 28, 28, 1)), "labels": ("I64", (1797,))}


def digits(root: Path, split: str, download: bool = False, *, fraction: float = 1.0) -> Images:
    """1,797 handwritten digits that come with scikit-learn, scaled from 8x8 to 28x28.

    Nothing is downloaded and `root` is not read. Every fifth image of a class is a test image:
    1,442 for training, 355 for testing.

    `fraction` keeps that fraction of every class of the training set.

    Source: Alpaydin & Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998
    """

    def make() -> dict[str, torch.Tensor]:
        from sklearn.datasets import load_digits

        source = load_digits()
        small = torch.from_numpy(np.asarray(source.images)).float()[:, None] * (255 / 16)
        large = F.interpolate(small, size=(28, 28), mode="bilinear", align_corners=False)
        images = large.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
        return {"images": images, "labels": torch.from_numpy(np.asarray(source.target)).long()}

    def sound(tensors: Mapping[str, torch.Tensor]) -> bool:
        return bool(((tensors["labels"] >= 0) & (tensors["labels"] < 10)).all())

    tensors = cached("digits-28-1", FORMS, make, sound)
    images, labels = tensors["images"], tensors["labels"]
    before = torch.zeros_like(labels)  # the number of earlier images of its class
    for label in range(10):
        before[labels == label] = torch.arange(int((labels == label).sum()))
    chosen = (before % 5 == 4) if split == "test" else (before % 5 != 4)
    classes = [str(label) for label in range(10)]
    data = Images(images[chosen], labels[chosen], classes, mean=[0.3051], std=[0.3248])
    return subset(data, split, fraction)
