"""Scores by a network in memory, with its gradients or activations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import nn

from prunecli.errors import NotFinite
from prunecli.masks.mask import apply_
from prunecli.network.layers import prunable
from prunecli.network.modules import theirs
from prunecli.network.untouched import untouched
from prunecli.plugins import registry
from prunecli.runtime.seeds import derive_seed
from prunecli.scoring.by_weights import check_form
from prunecli.tensors.finite import all_finite
from prunecli.types import Batches, Mask, Scores


def network_scores(
    scorer: Callable[..., Scores],
    model: nn.Module,
    batches: Batches,
    mask: Mask,
    seed: int,
    label: str,
) -> Scores:
    """What a scorer makes of a network in memory, with what the mask excludes zero."""
    with untouched(model):
        model.eval()
        torch.manual_seed(derive_seed(seed, "scoring"))
        params = dict(model.named_parameters())
        apply_(params, {name: kept.to(params[name].device) for name, kept in mask.items()})
        for name, weight in params.items():
            check_weight(name, weight.detach(), label)
        given = {"mask": mask} if registry.takes_mask(scorer) else {}
        with _scoring(scorer, label):
            scores = scorer(model, batches, **given)
        for name, own in prunable(model).items():
            check_form(scores.get(name), own.shape, name, scorer)
    # Laid out as files and selection read them, once instead of at every pass.
    return {name: score.detach().float().cpu().contiguous() for name, score in scores.items()}


@contextmanager
def _scoring(scorer: Callable[..., Scores], label: str) -> Iterator[None]:
    """Raise Mismatch where a network is none that prunecli's own method can do with.

    A plugin's own fault goes on as it is, to be told as such.
    """
    function = scorer.func if isinstance(scorer, partial) else scorer
    if not function.__module__.startswith("prunecli."):
        yield
        return
    method = function.__name__.replace("_", "-")
    with theirs(f"{label}: the method {method!r} cannot score the network"):
        yield


def check_weight(name: str, weight: torch.Tensor, label: str) -> None:
    if not all_finite(weight):
        raise NotFinite(f"{label}: {name!r} holds NaN or infinity; it cannot be scored")


def check_scores(scores: Scores, method: str, label: str) -> None:
    for name, score in scores.items():
        if not all_finite(score):
            raise NotFinite(
                f"{method}: the scores of {name!r} hold NaN or infinity; "
                f"check {label} with 'inspect'"
            )
