"""Versions of the packages that compute."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version

import torch

from prunecli.package import VERSION


@cache
def versions() -> dict[str, str]:
    """Versions, from the installed metadata: importing torchvision is slow."""
    return {
        "prunecli": VERSION,
        "torch": torch.__version__,
        **{name: version(name) for name in ("numpy", "torchvision")},
    }
