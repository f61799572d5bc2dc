"""`train` and `finetune`: from a checkpoint, or nothing, to a trained checkpoint."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from prunecli.errors import BadEnvironment, NotFinite
from prunecli.files.claims import check_output, claimed
from prunecli.files.digest import file_sha256
from prunecli.files.parsing import table
from prunecli.files.records import CheckpointRecord, Lineage
from prunecli.files.tensors import TensorFile
from prunecli.images.batches import ImageBatches, eval_batch
from prunecli.images.source import check_data_fits, fingerprint
from prunecli.masks.fitting import check_maskable
from prunecli.network.adoption import Head, adopt
from prunecli.network.build import build_model, check_trainable
from prunecli.network.layers import prunable
from prunecli.network.modules import check_sound
from prunecli.network.weights import load_weights, read_weights
from prunecli.plugins.origin import code
from prunecli.pruners._fixed import Fixed
from prunecli.runtime.device import put_on, unrepeatable
from prunecli.runtime.interrupts import deferred_interrupts
from prunecli.runtime.seeds import derive_seed
from prunecli.runtime.versions import versions
from prunecli.runtime.world import World
from prunecli.settings.run import RunOptions
from prunecli.settings.train import TrainingSettings
from prunecli.steps._preparation import Preparation, lineage, prepare
from prunecli.steps._pretrained import pretrained
from prunecli.steps._training_files import TrainingFiles, state_beside
from prunecli.steps._zeros import warn_of_zeros
from prunecli.tensors.finite import all_finite
from prunecli.training import loop
from prunecli.training.course import TrainingSet, begun, build_pruner
from prunecli.types import Images, Pruner


def train(options: TrainingSettings, run: RunOptions, world: World | None = None) -> Path:
    """Train a network and write its checkpoint, log and, while under way, its training state.

    Weights come from `rewind`, else `checkpoint`, else from the model's own initialisation under
    the seed, or from those that were published with it (`pretrained`). With a mask, masked weights
    are exactly zero after every step and in the file; a pruner makes its own while it trains, and
    leaves it beside the checkpoint. What is not said is taken over from the checkpoint: model, data
    set, seed, settings.

    The processes of a `world` share every batch, and come to what one alone would, but for
    rounding; the one that leads writes it all.

    Raises BadUsage, Mismatch or BadOutput before the first batch, NotFinite if training diverges,
    BadEnvironment if another process of the world is gone.
    """
    world = world or World()
    with world.leader_first():
        prepared = prepare(options, run, world)
    world.check_told(_told(prepared, run))
    if not run.dry_run:
        claim = _claimed(prepared, run, world)
        with claim as target, unrepeatable(run.progress.warn):
            _train(prepared, target, run, world)
    return prepared.output


def _claimed(prepared: Preparation, run: RunOptions, world: World) -> AbstractContextManager[Path]:
    if world.leads:
        how = {"force": run.force, "wait": run.wait}
        return claimed(prepared.output, prepared.inputs, beside=prepared.beside, **how)
    return nullcontext(check_output(prepared.output, prepared.inputs, force=run.force))


def _train(prepared: Preparation, target: Path, run: RunOptions, world: World) -> None:
    model_asked = prepared.options.model
    with world.leader_first():
        published = pretrained(model_asked)
        data = prepared.source.load("train", None, run.progress)
        test_data = _test_data(prepared, run) if prepared.evaluates else None
    told = lineage(prepared, data, published.name if published else None)
    if world.size > 1:
        world.check_told({**table(told), **_held(prepared, target, test_data)})
    torch.manual_seed(derive_seed(prepared.seed, "init"))
    described = told.model
    assert described is not None, "a training is of a network"
    model = build_model(described, by_file=prepared.model is None)
    if prepared.start is not None:
        _load(model, prepared.start, prepared.options, run)
        own = prepared.mask or prepared.options.pruner or prepared.start.says(CheckpointRecord).mask
        if world.leads and not own:
            warn_of_zeros(prunable(model), prepared.start.label, run.progress)
    if published is not None:
        head: Head = "new" if model_asked.new_head else "fitting"
        adopt(model, published.tensors, published.name, run.progress, head=head)
    check_sound(model, f"model {described.name!r}")
    put_on(model, prepared.device)
    check_trainable(model, described)
    pruner = partial(_pruner, prepared, model, run)
    state, batches = begun(model, data, prepared.settings, prepared.seed, pruner, world)
    files = TrainingFiles(target, told, _beside_lineage(prepared, told), state, world)
    if prepared.options.resume:
        files.resume(run.progress)
    test = None
    if test_data is not None:
        check_data_fits(described, data.classes, test_data)
        size = eval_batch(prepared.device, test_data.input_shape)
        test = ImageBatches(test_data, prepared.device, size, world)
    with deferred_interrupts() as interrupted:
        loop.train(
            state,
            batches,
            prepared.settings,
            prepared.seed,
            test=test,
            saving=loop.Saving(files.save, interrupted, prepared.options.save_every),
            progress=run.progress,
            graphs=prepared.options.graphs,
        )
    files.finish(data)


def _load(model: nn.Module, start: TensorFile, options: TrainingSettings, run: RunOptions) -> None:
    """Load a checkpoint; one that is not prunecli's, or where it is asked for, `adopt`ed."""
    tensors = read_weights(start)
    for name, tensor in tensors.items() if options.mask is None else ():  # or it may be masked
        if not all_finite(tensor):
            raise NotFinite(
                f"{start.label}: {name!r} holds NaN or infinity; train from other weights"
            )
    if start.says(CheckpointRecord).model and not options.model.adapts:
        load_weights(model, tensors, start.label)
        return
    head: Head = "new" if options.model.new_head else "kept"
    adopt(model, tensors, start.label, run.progress, prefix=options.model.strip_prefix, head=head)


def _test_data(prepared: Preparation, run: RunOptions) -> Images:
    try:
        return prepared.source.load("test", None, run.progress)
    except BadEnvironment as error:
        raise BadEnvironment(f"{error}; --no-eval-epochs trains without a test set") from None


def _beside_lineage(prepared: Preparation, told: Lineage) -> dict[str, Any]:
    """What changes the course of a training and is not in its lineage: the code of plugins, too."""
    assert told.model is not None
    named = [("models", told.model.name, prepared.model is None)]
    named += [("data", prepared.source.dataset, prepared.options.data.dataset is None)]
    if prepared.pruner:
        named += [("pruners", prepared.pruner.name, False)]
        texts = [text for text in prepared.pruner.options.values() if isinstance(text, str)]
        named += [("scorers", text, False) for text in texts]
    codes = {f"{kind}/{name}": code(kind, name, by_file=own) for kind, name, own in named}
    return {"eval_epochs": prepared.evaluates, "plugins": {k: c for k, c in codes.items() if c}}


def _told(prepared: Preparation, run: RunOptions) -> dict[str, Any]:
    """What all processes of a training must be told alike, as far as it shows before the data.

    Not where to write, which may be called otherwise on another machine, and only the one that
    leads does it.
    """
    options = prepared.options
    return {
        "dataset": {"name": prepared.source.dataset, "options": dict(prepared.source.options)},
        "settings": asdict(prepared.settings),
        "seed": prepared.seed,
        "device": prepared.device.type,
        "resume": options.resume,
        "eval_epochs": options.eval_every_epoch,
        "save_every": options.save_every if math.isfinite(options.save_every) else None,
        "dry_run": run.dry_run,
        "versions": versions(),
    }


def _held(prepared: Preparation, target: Path, test: Images | None) -> dict[str, Any]:
    """What decides a training besides its lineage: the test set, and the state to resume."""
    state = state_beside(target)
    return {
        "test": fingerprint(test) if test is not None else None,
        "state": file_sha256(state) if prepared.options.resume and state.exists() else None,
    }


def _pruner(prepared: Preparation, model: nn.Module, run: RunOptions, data: TrainingSet) -> Pruner:
    if prepared.mask is not None:
        check_maskable(prepared.mask, prunable(model), "the mask")
        return Fixed(prepared.mask)
    if prepared.pruner is None:
        return Pruner()
    return build_pruner(
        prepared.pruner,
        model,
        data,
        prepared.settings.epochs,
        prepared.options.ignore,
        prepared.options.exclude_classifier,
        run.progress,
    )
