"""Versions of what computes."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version

import torch

from prunecli.package import VERSION


@cache
def versions() -> dict[str, str]:
    """The versions of what computes, by the installation: importing torchvision takes long."""
    return {
        "prunecli": VERSION,
        "torch": torch.__version__,
        **{name: version(name) for name in ("numpy", "torchvision")},
    }
