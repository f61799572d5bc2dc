"""The preparation of a training: checks before any data is read, and the lineage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from prunecli.errors import BadOutput, BadUsage, Mismatch, printable
from prunecli.files.artifacts import open_artifact
from prunecli.files.claims import check_output, settle_before
from prunecli.files.names import file_word, sibling, stem
from prunecli.files.parsing import Scalar
from prunecli.files.records import (
    Adapted,
    CheckpointRecord,
    DatasetRecord,
    Lineage,
    ModelRecord,
    PrunerRecord,
)
from prunecli.files.tensors import TensorFile
from prunecli.images.source import Source, check_data_fits, fingerprint
from prunecli.masks.fitting import open_mask
from prunecli.masks.lineage import mask_origin
from prunecli.network.build import NO_MODEL, check_described
from prunecli.plugins.plugin import Plugin
from prunecli.plugins.resolve import resolve
from prunecli.runtime.device import pick_device, pick_precision
from prunecli.runtime.world import World
from prunecli.settings.run import RunOptions
from prunecli.settings.train import TrainingSettings
from prunecli.settings.training import Hyperparameters, completed
from prunecli.steps._pretrained import check_published
from prunecli.steps._training_files import log_beside, mask_beside, state_beside
from prunecli.types import Images, Mask


@dataclass(frozen=True)
class Preparation:
    """What is known and checked before the data is read."""

    options: TrainingSettings
    parent: TensorFile | None
    start: TensorFile | None
    mask: Mask | None
    mask_file: TensorFile | None
    seed: int
    device: torch.device
    settings: Hyperparameters
    source: Source
    model: Plugin | None
    """The network that the user named; None for the checkpoint's."""
    pruner: Plugin | None
    output: Path
    inputs: list[Path]
    beside: dict[Path, bool]
    """Files that come with the output, and whether each may replace an earlier one."""

    @property
    def evaluates(self) -> bool:
        return self.options.eval_every_epoch and self.settings.epochs > 0


def prepare(options: TrainingSettings, run: RunOptions, world: World) -> Preparation:
    options.check()
    parent = open_artifact(options.checkpoint, "checkpoint") if options.checkpoint else None
    start = open_artifact(options.rewind, "checkpoint") if options.rewind else parent
    own = parent.says(CheckpointRecord) if parent else None
    mask, mask_file = None, None
    if options.mask:
        assert start is not None, "checked by the settings"
        mask, mask_file = open_mask(options.mask, start)
    elif own and own.mask:
        run.progress.warn(
            "the checkpoint is masked but no --mask was given: its pruned weights will grow back"
        )
    if options.model.name is None:
        assert start is not None, "checked by the settings"
        if own is None or own.model is None:
            raise BadUsage(NO_MODEL.format(start.label))
        check_described(_described(options, own.model), start)
    source = Source.of(options.data, own)
    model = _named("models", options.model.name, options.model.options)
    _check_adapts(options)
    check_published(options.model)
    pruner = _named("pruners", options.pruner, options.pruner_options)
    output = run.output or _output_name(options, source)
    inputs = [path for file in (parent, start, mask_file) if file for path in file.paths]
    device = pick_device(run.device, world.gpu)
    seed = run.seed if run.seed is not None else (own and own.seed) or 0
    settings = completed(options.given, (own and own.settings) or {})
    settings = replace(settings, precision=pick_precision(settings.precision, device))
    if pruner is not None:
        pruner.check_fits(settings.epochs)
    if settings.compile and world.size > 1:
        raise BadUsage("--compile needs a training in one process")
    beside = _checked_outputs(output, inputs, options, settings.epochs, run.force)
    run.progress.detail(f"on {device}: {settings}")
    return Preparation(
        options=options,
        parent=parent,
        start=start,
        mask=mask,
        mask_file=mask_file,
        seed=seed,
        device=device,
        settings=settings,
        source=source,
        model=model,
        pruner=pruner,
        output=output,
        inputs=inputs,
        beside=beside,
    )


def _named(kind: str, name: str | None, options: Mapping[str, Any]) -> Plugin | None:
    """The plugin that the user named, if any."""
    return None if name is None else resolve(kind, name, options, by_file=False)


def _check_adapts(options: TrainingSettings) -> None:
    """Raise BadUsage unless there are weights to change, and a model that they are to fit."""
    given = options.checkpoint and options.model.name is not None
    if options.model.strip_prefix is not None and not given:
        raise BadUsage("--strip-prefix needs a CHECKPOINT and a --model")
    published = options.model.published is not None
    if published and options.checkpoint:
        raise BadUsage("published weights replace the checkpoint; leave one of them out")
    if options.model.new_head and not (given or published):
        raise BadUsage("--new-head needs a CHECKPOINT and a --model, or --weights")


def _checked_outputs(
    output: Path, inputs: list[Path], options: TrainingSettings, epochs: int, force: bool
) -> dict[Path, bool]:
    """The files that go beside the checkpoint, each with whether it may be replaced.

    Raises BadOutput, for those and for the checkpoint, where something would be lost.
    """
    settle_before(output)
    target = check_output(output, inputs, force=force)
    state = check_output(state_beside(target), inputs, force=True)
    if state.exists() and not (options.resume or force):
        raise BadOutput(
            f"{printable(str(state))}: a training of this output was stopped; "
            "continue it with --resume, or start again with --force"
        )
    names = [log_beside(target)] * (epochs > 0) + [mask_beside(target)] * bool(options.pruner)
    for path in names:
        check_output(path, inputs, force=force)
    return dict.fromkeys(names, force)


def _output_name(options: TrainingSettings, source: Source) -> Path:
    pruner = file_word(options.pruner or "")
    if options.checkpoint is None:
        words = filter(None, (options.model.name, source.dataset, pruner))
        return Path(f"{'.'.join(map(file_word, words))}.safetensors")
    basis = options.mask or options.checkpoint
    verb = pruner or ("finetuned" if options.mask else "trained")
    return sibling(options.checkpoint, f"{stem(basis)}.{verb}.safetensors")


def lineage(prepared: Preparation, data: Images, pretrained: str | None) -> Lineage:
    """The lineage of the checkpoint; a resumed run must agree with it in every point.

    `pretrained` says what weights were published with the network, where it begins with those.
    """
    parent, start = prepared.parent, prepared.start
    rewound = start if start is not parent else None
    mask, epochs = prepared.mask_file, prepared.settings.epochs
    return Lineage(
        model=_model(prepared, data),
        dataset=DatasetRecord(
            name=prepared.source.dataset,
            options=prepared.source.options,
            sha256=fingerprint(data),
        ),
        seed=prepared.seed,
        settings=asdict(prepared.settings),
        device=prepared.device.type,
        parent=parent.sha256 if parent else None,
        rewind=rewound.sha256 if rewound else None,
        rewound_to=rewound.says(CheckpointRecord).epochs if rewound else None,
        earlier=_earlier(parent.says(CheckpointRecord)) if parent else None,
        mask=mask_origin(mask, epochs) if mask else None,
        pruner=_pruner(prepared),
        adapted=_adapted(prepared.options),
        pretrained=pretrained,
    )


def _adapted(options: TrainingSettings) -> Adapted | None:
    if not options.model.adapts:
        return None
    return Adapted(strip_prefix=options.model.strip_prefix, new_head=options.model.new_head)


def _earlier(parent: CheckpointRecord) -> tuple[Mapping[str, Scalar], ...]:
    """The settings of all trainings up to a checkpoint's, the oldest first."""
    return (*(parent.earlier or ()), parent.settings or {})


def _pruner(prepared: Preparation) -> PrunerRecord | None:
    if prepared.pruner is None:
        return None
    return PrunerRecord(
        name=prepared.pruner.name,
        options=prepared.pruner.options,
        ignore=prepared.options.ignore,
        exclude_classifier=prepared.options.exclude_classifier,
    )


def _model(prepared: Preparation, data: Images) -> ModelRecord:
    if prepared.model is not None:
        return ModelRecord(
            name=prepared.model.name,
            options=prepared.model.options,
            input_shape=data.input_shape,
            classes=len(data.classes),
        )
    own = prepared.parent.says(CheckpointRecord) if prepared.parent else None
    assert own is not None and own.model is not None, "checked in `prepare`"
    try:
        check_data_fits(own.model, own.classes, data)
    except Mismatch as error:
        mend = "--model NAME --new-head loads its weights, with a new last layer for these classes"
        raise Mismatch(f"{error}; {mend}") from None
    return _described(prepared.options, own.model)


def _described(options: TrainingSettings, own: ModelRecord) -> ModelRecord:
    """The network of a checkpoint, with the options that were given."""
    options_of_both = {**own.options, **options.model.options}
    model = resolve("models", own.name, options_of_both, by_file=True)
    return replace(own, options=model.options)
