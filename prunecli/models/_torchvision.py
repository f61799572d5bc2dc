"""torchvision's classifiers, `torchvision:NAME`, with its pretrained weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from torch import Tensor, nn
from torchvision import models

from prunecli.errors import BadEnvironment, BadUsage, Mismatch, raise_shortage, suggest

SIDE_EXITS = {"googlenet", "inception_v3"}
"""They train with further classifiers, which a plain cross-entropy has no use for."""


def family(name: str) -> Callable[..., nn.Module]:
    """The builder of one of torchvision's classifiers. Raises BadUsage for an unknown name."""
    known = models.list_models(module=models)
    if name not in known:
        raise BadUsage(f"torchvision has no classifier {name!r}{suggest(name, known)}")

    def build(input_shape: tuple[int, int, int], classes: int) -> nn.Module:
        if input_shape[0] != 3:
            raise Mismatch(
                f"torchvision:{name} takes images of three channels, not of {input_shape[0]}"
            )
        more = {"aux_logits": False, "init_weights": True} if name in SIDE_EXITS else {}
        network: nn.Module = models.get_model(name, weights=None, num_classes=classes, **more)
        return network

    build.__doc__ = f"torchvision's `{name}`."
    return build


def pretrained(name: str) -> tuple[str, dict[str, Tensor]]:
    """The name of torchvision's best weights for a classifier, and the weights.

    They come from the cache of torch.hub, or are downloaded into it. Raises BadEnvironment, with
    the command that mends it, if neither is possible.
    """
    weights: Any = models.get_model_weights(name)["DEFAULT"]
    url = str(weights.url)
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    file = folder / Path(urlparse(url).path).name
    try:
        state: dict[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise_shortage(error)
        what = "cannot be read" if file.exists() else "cannot be downloaded"
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadEnvironment(
            f"the pretrained weights of {name!r} {what} ({why}); fetch them where there is a "
            f"network: curl --create-dirs -o {file} {url}"
        ) from None
    return str(weights), state
