"""What a pruner is told, and may ask for, before the training it acts in begins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from prunecli.images.batches import ScoringBatches, split_off
from prunecli.masks.mask import apply_
from prunecli.masks.targets import left_in
from prunecli.network import coverage
from prunecli.network.flops import count_flops
from prunecli.network.layers import classifier, prunable
from prunecli.plugins import registry
from prunecli.plugins.registry import takes_model
from prunecli.plugins.seeded import options_with_seed
from prunecli.runtime.progress import Progress
from prunecli.scoring.by_network import check_scores, check_weight, network_scores
from prunecli.scoring.by_weights import check_form
from prunecli.settings.eval import EVAL_BATCH
from prunecli.types import Batches, Course, Images, Mask, Params, Pruner, Scores

SCORING_BATCH = 128


class TrainingSet:
    """The images to train on, of which a pruner may hold out some."""

    def __init__(self, data: Images, device: torch.device, seed: int) -> None:
        self.data, self.device, self.seed = data, device, seed

    def hold_out(self, fraction: float, *, keep: bool = False) -> Batches:
        """See `types.HoldOut`."""
        rest, held = split_off(self.data, fraction, self.seed)
        self.data = self.data if keep else rest
        return self._batches(lambda: held, EVAL_BATCH)

    def batches(self) -> Batches:
        """Batches to score by, of what is trained on when they are asked for."""
        return self._batches(lambda: self.data, SCORING_BATCH)

    def _batches(self, load: Callable[[], Images], size: int) -> Batches:
        return ScoringBatches(self.data.input_shape, load, self.device, size, self.seed)


def build_pruner(
    name: str,
    options: Mapping[str, Any],
    model: nn.Module,
    data: TrainingSet,
    epochs: int,
    ignore: tuple[str, ...] = (),
    exclude_classifier: bool = False,
    progress: Progress | None = None,
) -> Pruner:
    """The pruner of that name for this training. Raises BadUsage for options that do not fit it."""
    params = prunable(model)
    names = left_in(list(params), classifier(model), "the network", ignore, exclude_classifier)
    progress = progress or Progress()
    coverage.tell(coverage.of_model(model, names), progress)
    course = Course(
        model=model,
        params={name: params[name] for name in names},
        epochs=epochs,
        seed=data.seed,
        scorer=partial(_scorer, model, data, names),
        hold_out=data.hold_out,
        flops=lambda: count_flops(model, data.data.input_shape),
        warn=progress.warn,
    )
    build: Callable[..., Pruner] = registry.find("pruners", name)
    return build(course, **registry.bind("pruners", name, options))


def _scorer(
    model: nn.Module, data: TrainingSet, names: list[str], method: str
) -> Callable[[Mask], Scores]:
    """See `types.Course`. Raises BadUsage for a method that is not there."""
    function = registry.find("scorers", method)
    bound = registry.bind("scorers", method, {})

    def score(mask: Mask) -> Scores:
        if takes_model(function):
            scorer = partial(function, **options_with_seed(function, bound, data.seed))
            scores = network_scores(scorer, model, data.batches(), mask, data.seed, "the network")
        else:
            scores = _tensor_scores(function, bound, prunable(model), mask, data.seed)
        check_scores(scores, method, "the network")
        return {name: scores[name] for name in names}

    return score


def _tensor_scores(
    function: Callable[..., torch.Tensor],
    options: Mapping[str, Any],
    params: Params,
    mask: Mask,
    seed: int,
) -> Scores:
    scores = {}
    for name, param in params.items():
        weight = param.detach().to("cpu", torch.float32, copy=True).contiguous()
        if name in mask:
            apply_({name: weight}, {name: mask[name]})
        check_weight(name, weight, "the network")
        found = function(weight, **options_with_seed(function, options, seed, name))
        check_form(found, weight.shape, name, function)
        scores[name] = found.float()
    return scores
