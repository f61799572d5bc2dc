"""Scores by a network in memory, with its gradients or activations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from prunecli.masks.mask import apply_
from prunecli.network.layers import prunable
from prunecli.network.modules import theirs
from prunecli.network.untouched import untouched
from prunecli.plugins.plugin import Plugin
from prunecli.runtime.seeds import derive_seed
from prunecli.scoring.checks import check_form, check_weight
from prunecli.types import Batches, Mask, Scores


def network_scores(
    scorer: Plugin,
    model: nn.Module,
    batches: Batches,
    mask: Mask,
    seed: int,
    label: str,
) -> Scores:
    """The scores of a network in memory, with pruned weights at zero."""
    with untouched(model):
        model.eval()
        torch.manual_seed(derive_seed(seed, "scoring"))
        params = dict(model.named_parameters())
        apply_(params, {name: kept.to(params[name].device) for name, kept in mask.items()})
        for name, weight in params.items():
            check_weight(name, weight.detach(), label)
        given = {"mask": mask} if scorer.takes_mask else {}
        with _scoring(scorer, label):
            scores: Scores = scorer.seeded(seed)(model, batches, **given)
        for name, own in prunable(model).items():
            check_form(scores.get(name), own.shape, name, scorer)
    # Laid out as files and selection read them, once instead of at every pass.
    return {name: score.detach().float().cpu().contiguous() for name, score in scores.items()}


@contextmanager
def _scoring(scorer: Plugin, label: str) -> Iterator[None]:
    """Raise Mismatch where a network is none that prunecli's own method can do with.

    A plugin's own fault goes on as it is, to be told as such.
    """
    if not scorer.own:
        yield
        return
    with theirs(f"{label}: the {scorer.label} cannot score the network"):
        yield
