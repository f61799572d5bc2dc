"""torchvision's classifiers, `torchvision:NAME`, with its pretrained weights."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from torch import Tensor, nn
from torchvision import models

from prunecli.errors import BadEnvironment, BadUsage, Mismatch, printable, suggest
from prunecli.models._thinned import thinned
from prunecli.runtime.shortage import raise_shortage

SIDE_EXITS = {"googlenet", "inception_v3"}
"""Networks with auxiliary classifiers, which a plain cross-entropy does not use."""


def family(name: str) -> Callable[..., nn.Module]:
    """The builder of one of torchvision's classifiers. Raises BadUsage for an unknown name."""
    _check_known(name)

    def build(input_shape: tuple[int, int, int], classes: int, *, thin: float = 1.0) -> nn.Module:
        if input_shape[0] != 3:
            raise Mismatch(
                f"torchvision:{name} takes images of three channels, not of {input_shape[0]}"
            )
        more = {"aux_logits": False, "init_weights": True} if name in SIDE_EXITS else {}
        made = partial(models.get_model, name, weights=None, num_classes=classes, **more)
        return thinned(made, f"torchvision:{name}", input_shape, thin)

    build.__doc__ = f"torchvision's `{name}`."
    return build


def _check_known(name: str) -> None:
    known = models.list_models(module=models)
    if name not in known:
        raise BadUsage(f"torchvision has no classifier {name!r}{suggest(name, known)}")


def weights(network: str, name: str) -> Any:
    """A network's published weights of that name. Raises BadUsage if there are none."""
    _check_known(network)
    known = models.get_model_weights(network).__members__
    if name not in known:
        raise BadUsage(
            f"torchvision has no weights {name!r} for {network!r}; it has {', '.join(known)}"
        )
    return known[name]


def pretrained(name: str, published: str = "DEFAULT") -> tuple[str, dict[str, Tensor]]:
    """The full name of a classifier's published weights, and the weights.

    They come from the cache of torch.hub, or are downloaded into it. Raises BadEnvironment, with
    the command that fixes it, if neither is possible; BadUsage for an unknown name.
    """
    chosen = weights(name, published)
    url = str(chosen.url)
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    file = folder / Path(urlparse(url).path).name
    try:
        state = _state(chosen, file)
    except Exception as error:  # whatever torch makes of a file that is none of torchvision's
        raise_shortage(error)
        what = "cannot be read" if file.exists() else "cannot be downloaded"
        why = printable(str(error).splitlines()[0] if str(error) else type(error).__name__)
        raise BadEnvironment(
            f"the pretrained weights of {name!r} {what} ({why}); download them where there is a "
            f"network: curl --create-dirs -o {file} {url}"
        ) from None
    return str(chosen), state


def _state(weights: Any, file: Path) -> dict[str, Tensor]:
    """The tensors of published weights, from their file or downloaded.

    The file is a pickle; nothing in it is executed.
    """
    if file.exists() and not file.is_file():
        raise ValueError("it is not a regular file")
    try:
        state = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except pickle.UnpicklingError:  # which tells how to have it run
        state = None
    tensors = isinstance(state, dict) and all(isinstance(v, Tensor) for v in state.values())
    if not tensors:
        raise ValueError("it holds more than weights; remove it")
    return dict(state)
