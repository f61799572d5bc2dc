"""Versions of what computes."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version

import torch

import prunecli


@cache
def versions() -> dict[str, str]:
    """Of what computes; asked of the installation, since importing torchvision takes long."""
    return {
        "prunecli": prunecli.__version__,
        "torch": torch.__version__,
        **{name: version(name) for name in ("numpy", "torchvision")},
    }
