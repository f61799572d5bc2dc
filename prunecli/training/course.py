"""What a pruner gets, and can request, before its training begins."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from prunecli.images.batches import ImageBatches, ScoringBatches, split_off
from prunecli.masks.targets import left_in
from prunecli.network import coverage
from prunecli.network.flops import count_flops
from prunecli.network.layers import classifier, prunable
from prunecli.plugins.plugin import Plugin
from prunecli.plugins.resolve import resolve
from prunecli.runtime.progress import Progress
from prunecli.runtime.world import World
from prunecli.scoring.by_network import network_scores
from prunecli.scoring.by_weights import TensorScores
from prunecli.scoring.checks import check_scores
from prunecli.settings.eval import EVAL_BATCH
from prunecli.settings.training import Hyperparameters
from prunecli.tensors.parts import InMemory, in_memory
from prunecli.training.state import TrainingState, new_state
from prunecli.types import Batches, Course, Images, Mask, Pruner, Scores

SCORING_BATCH = 128


class TrainingSet:
    """The training images; a pruner can hold out some of them."""

    def __init__(self, data: Images, device: torch.device, seed: int) -> None:
        self.data, self.device, self.seed = data, device, seed

    def hold_out(self, fraction: float, *, keep: bool = False) -> Batches:
        """A fraction of every class as batches; see `types.HoldOut`."""
        rest, held = split_off(self.data, fraction, self.seed)
        self.data = self.data if keep else rest
        return self._batches(lambda: held, EVAL_BATCH)

    def batches(self) -> Batches:
        """Batches for scoring, from the images that are trained on at the time of the call."""
        return self._batches(lambda: self.data, SCORING_BATCH)

    def _batches(self, load: Callable[[], Images], size: int) -> Batches:
        return ScoringBatches(self.data.input_shape, load, self.device, size, self.seed)


def begun(
    model: nn.Module,
    data: Images,
    settings: Hyperparameters,
    seed: int,
    pruner: Callable[[TrainingSet], Pruner],
    world: World | None = None,
) -> tuple[TrainingState, ImageBatches]:
    """A training before its first step, and its training set.

    The network is on its training device. `pruner` makes the pruner.
    """
    device = next(model.parameters()).device
    images = TrainingSet(data, device, seed)
    acts = pruner(images)
    batches = ImageBatches(images.data, device, settings.batch_size, world)
    return new_state(model, settings, acts, len(batches)), batches


def build_pruner(
    plugin: Plugin,
    model: nn.Module,
    data: TrainingSet,
    epochs: int,
    ignore: tuple[str, ...] = (),
    exclude_classifier: bool = False,
    progress: Progress | None = None,
) -> Pruner:
    """The pruner for this training. Raises BadUsage for options that do not fit it."""
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
    pruner: Pruner = plugin(course)
    return pruner


def _scorer(
    model: nn.Module, data: TrainingSet, names: list[str], method: str
) -> Callable[[Mask], Scores]:
    """A method by its name; see `types.Course`. Raises BadUsage for an unknown one."""
    scorer = resolve("scorers", method, {}, by_file=False)

    def score(mask: Mask) -> Scores:
        if not scorer.takes_model:
            params = prunable(model)
            # Copies, since other people's code can change its arguments.
            weights = {name: params[name].detach().to("cpu", copy=True) for name in names}
            own = (InMemory(weights), names, scorer, data.seed, "the network")
            return in_memory(TensorScores(*own, InMemory(mask)))
        batches = data.batches()
        scores = network_scores(scorer, model, batches, mask, data.seed, "the network")
        check_scores(scores, scorer, "the network")
        return {name: scores[name] for name in names}

    return score
