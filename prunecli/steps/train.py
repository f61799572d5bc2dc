"""`train` and `finetune`: from a checkpoint, or nothing, to a trained checkpoint."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from prunecli.batches import ImageBatches
from prunecli.device import place
from prunecli.errors import Mismatch, some
from prunecli.files.artifacts import read_state_dict
from prunecli.files.atomic import claimed
from prunecli.interrupts import deferred_interrupts
from prunecli.masks import prunable
from prunecli.pruners._fixed import Fixed
from prunecli.seeds import derive_seed
from prunecli.steps._common import Common, build_model, load_weights
from prunecli.steps._course import TrainingSet, build_pruner
from prunecli.steps._pretrained import adopt, pretrained
from prunecli.steps._training_files import TrainingFiles
from prunecli.steps._training_plan import Plan, TrainOptions, lineage, prepared
from prunecli.training import loop
from prunecli.training.state import new_state
from prunecli.types import Mask, Pruner

__all__ = ["TrainOptions", "train"]


def train(options: TrainOptions, common: Common) -> Path:
    """Train a network and write its checkpoint, log and, while under way, its training state.

    Weights come from `rewind`, else `checkpoint`, else from the model's own initialisation under
    the seed, or from those that were published with it (`pretrained`). With a mask, masked weights
    are exactly zero after every step and in the file; a pruner makes its own while it trains, and
    leaves it beside the checkpoint. What is not said is taken over from the checkpoint: model, data
    set, seed, settings.

    Raises BadUsage, Mismatch or BadOutput before the first batch, NotFinite if training diverges.
    """
    plan = prepared(options, common)
    if not common.dry_run:
        with claimed(plan.output, plan.inputs, force=common.force, wait=common.wait) as target:
            _train(plan, target, common)
    return plan.output


def _train(plan: Plan, target: Path, common: Common) -> None:
    published = pretrained(plan.options.model or "") if plan.options.pretrained else None
    data = plan.source.load("train")
    facts = lineage(plan, data) | {"pretrained": published.name if published else None}
    torch.manual_seed(derive_seed(plan.seed, "init"))
    model = build_model(facts["model"])
    if plan.start is not None:
        load_weights(model, read_state_dict(plan.start), plan.start.label)
    if published is not None:
        adopt(model, published, common.progress)
    place(model, plan.device)
    images = TrainingSet(data, plan.device, plan.seed)
    pruner = _pruner(plan, model, images, common)
    batches = ImageBatches(images.data, plan.device, plan.settings.batch_size)
    state = new_state(model, plan.settings, pruner, len(batches))
    files = TrainingFiles(target, facts, state)
    if plan.options.resume:
        files.resume(common.progress)
    test = None
    if plan.options.eval_every_epoch and plan.settings.epochs:
        test = ImageBatches(
            plan.source.load("test", {"model": facts["model"], "classes": data.classes}),
            plan.device,
            loop.EVAL_BATCH,
        )
    with deferred_interrupts() as interrupted:
        loop.train(
            state,
            batches,
            plan.settings,
            plan.seed,
            plan.device,
            test=test,
            save=files.save,
            interrupted=interrupted,
            progress=common.progress,
        )
    files.finish(data)


def _pruner(plan: Plan, model: nn.Module, data: TrainingSet, common: Common) -> Pruner:
    options = plan.options
    if plan.mask is not None:
        return _fixed(plan.mask, model)
    if options.pruner is None:
        return Pruner()
    return build_pruner(
        options.pruner,
        options.pruner_options,
        model,
        data,
        plan.settings.epochs,
        options.ignore,
        options.exclude_classifier,
        common.progress,
    )


def _fixed(mask: Mask, model: nn.Module) -> Fixed:
    odd = [name for name in mask if name not in prunable(model)]
    if odd:
        raise Mismatch(f"the mask covers {some(odd)}, which are not weights of Conv or Linear")
    return Fixed(mask)
