"""What a training is to do: options to a plan, checked before any data is read, and its lineage."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch

from prunecli.errors import BadOutput, BadUsage, Mismatch, printable
from prunecli.files.artifacts import open_artifact
from prunecli.files.claims import check_output, settle_before
from prunecli.files.names import sibling, stem
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
from prunecli.network.build import NO_MODEL, check_described
from prunecli.plugins import registry
from prunecli.runtime.device import pick_device, pick_precision
from prunecli.runtime.world import World
from prunecli.settings.common import Common
from prunecli.steps._lineage import mask_origin
from prunecli.steps._pretrained import has_pretrained
from prunecli.steps._training_files import log_beside, mask_beside, state_beside
from prunecli.training.settings import Settings
from prunecli.types import Images, Mask


@dataclass(frozen=True)
class TrainOptions:
    """What to train and from where. `settings` holds only what was said; see `_settings`."""

    checkpoint: Path | None = None
    mask: Path | None = None
    rewind: Path | None = None
    model: str | None = None
    model_options: Mapping[str, Any] = field(default_factory=dict)
    pretrained: bool = False
    strip_prefix: str | None = None
    new_head: bool = False
    pruner: str | None = None
    pruner_options: Mapping[str, Any] = field(default_factory=dict)
    ignore: tuple[str, ...] = ()
    exclude_classifier: bool = False
    source: Source = field(default_factory=Source)
    settings: Mapping[str, Any] = field(default_factory=dict)
    resume: bool = False
    eval_every_epoch: bool = True
    graphs: bool = True
    save_every: float = math.inf
    """Seconds, within an epoch."""

    @property
    def adapts(self) -> bool:
        """Whether it was said how the checkpoint's weights are to be changed to fit the model."""
        return self.strip_prefix is not None or self.new_head


@dataclass(frozen=True)
class Plan:
    """What can be known, and checked, before the data is read."""

    options: TrainOptions
    parent: TensorFile | None
    start: TensorFile | None
    mask: Mask | None
    mask_file: TensorFile | None
    seed: int
    device: torch.device
    settings: Settings
    source: Source
    output: Path
    inputs: list[Path]
    beside: dict[Path, bool]
    """Files that come with the output, and whether each may replace an earlier one."""

    @property
    def evaluates(self) -> bool:
        return self.options.eval_every_epoch and self.settings.epochs > 0


def prepared(options: TrainOptions, common: Common, world: World) -> Plan:
    parent = open_artifact(options.checkpoint, "checkpoint") if options.checkpoint else None
    start = open_artifact(options.rewind, "checkpoint") if options.rewind else parent
    own = parent.says(CheckpointRecord) if parent else None
    mask, mask_file = None, None
    if options.mask:
        if start is None:
            raise BadUsage("--mask needs the checkpoint that it was made for")
        mask, mask_file = open_mask(options.mask, start)
        if options.pruner:
            raise BadUsage("--pruner makes its own mask; leave --mask out")
    elif own and own.mask:
        common.progress.warn(
            "the checkpoint is masked but no --mask was given: its pruned weights will grow back"
        )
    if options.pruner is None:
        given = {"opt": options.pruner_options, "ignore": options.ignore,
                 "exclude-classifier": options.exclude_classifier}  # fmt: skip
        if idle := [name for name, value in given.items() if value]:
            raise BadUsage(f"--{idle[0]} needs --pruner")
    if options.model is None:
        if start is None:
            raise BadUsage("which model? name it with --model")
        if own is None or own.model is None:
            raise BadUsage(NO_MODEL.format(start.label))
        check_described(_described(options, own.model), start)
    source = options.source.resolved(own)
    if options.model is not None:
        registry.bind("models", options.model, options.model_options)
    _check_adapts(options)
    if options.pretrained and options.checkpoint:
        raise BadUsage("--pretrained starts afresh; leave the checkpoint out")
    if options.pretrained and not has_pretrained(options.model or ""):
        raise BadUsage("--pretrained is for --model torchvision:NAME")
    if options.pruner is not None:
        registry.bind("pruners", options.pruner, options.pruner_options)
    output = common.output or _output_name(options, source)
    inputs = [path for file in (parent, start, mask_file) if file for path in file.places]
    device = pick_device(common.device, world.place)
    seed = common.seed if common.seed is not None else (own and own.seed) or 0
    settings = _settings(options.settings, (own and own.settings) or {}, device)
    if settings.compile and world.size > 1:
        raise BadUsage("--compile is for a training in one process")
    beside = _checked_outputs(output, inputs, options, settings.epochs, common.force)
    common.progress.detail(f"on {device}: {settings}")
    return Plan(
        options,
        parent,
        start,
        mask,
        mask_file,
        seed,
        device,
        settings,
        source,
        output,
        inputs,
        beside,
    )


def _check_adapts(options: TrainOptions) -> None:
    """Raises BadUsage unless there are weights to change, and a model that they are to fit."""
    given = options.checkpoint and options.model is not None
    if options.strip_prefix is not None and not given:
        raise BadUsage("--strip-prefix is for a CHECKPOINT that is given a --model")
    if options.new_head and not (given or options.pretrained):
        raise BadUsage("--new-head is for a CHECKPOINT that is given a --model, or --pretrained")


def _checked_outputs(
    output: Path, inputs: list[Path], options: TrainOptions, epochs: int, force: bool
) -> dict[Path, bool]:
    """The files that go beside the checkpoint, each with whether it may be replaced.

    Raises BadOutput, for those and for the checkpoint, where something would be lost.
    """
    settle_before(output)
    target = check_output(output, inputs, force=force)
    state = check_output(state_beside(target), inputs, force=True)
    if state.exists() and not (options.resume or force):
        raise BadOutput(
            f"{printable(str(state))}: a training of this output was stopped; go on with --resume, "
            "or start anew with --force"
        )
    names = [log_beside(target)] * (epochs > 0) + [mask_beside(target)] * bool(options.pruner)
    for path in names:
        check_output(path, inputs, force=force)
    return dict.fromkeys(names, force)


def _settings(
    given: Mapping[str, Any], inherited: Mapping[str, Any], device: torch.device
) -> Settings:
    """What was said, else what the checkpoint was trained with, else the defaults.

    Precision and compilation are the machine's business, so they are not taken over.
    """
    known = {f.name for f in fields(Settings)} - {"precision", "compile"}
    if inherited.get("epochs") == 0 and "epochs" not in given:
        raise BadUsage("for how many epochs? the checkpoint is untrained; say it with --epochs")
    merged = {k: v for k, v in inherited.items() if k in known} | dict(given)
    settings = Settings(**merged)
    settings.check()
    return replace(settings, precision=pick_precision(settings.precision, device))


def _output_name(options: TrainOptions, source: Source) -> Path:
    pruner = (options.pruner or "").replace(":", ".")
    if options.checkpoint is None:
        name = f"{options.model}.{source.dataset}{pruner and f'.{pruner}'}.safetensors"
        return Path(name.replace(":", "."))
    basis = options.mask or options.checkpoint
    verb = pruner or ("finetuned" if options.mask else "trained")
    return sibling(options.checkpoint, f"{stem(basis)}.{verb}.safetensors")


def lineage(plan: Plan, data: Images, pretrained: str | None) -> Lineage:
    """How the checkpoint comes to be; a resumed run must agree with it in every point.

    `pretrained` says what weights were published with the network, where it begins with those.
    """
    parent, start = plan.parent, plan.start
    rewound = start if start is not parent else None
    return Lineage(
        model=_model(plan, data),
        dataset=DatasetRecord(
            name=str(plan.source.dataset),
            options=plan.source.options,
            sha256=fingerprint(data),
        ),
        seed=plan.seed,
        settings=asdict(plan.settings),
        device=plan.device.type,
        parent=parent.sha256 if parent else None,
        rewind=rewound.sha256 if rewound else None,
        rewound_to=rewound.says(CheckpointRecord).epochs if rewound else None,
        earlier=_earlier(parent.says(CheckpointRecord)) if parent else None,
        mask=mask_origin(plan.mask_file, plan.settings.epochs) if plan.mask_file else None,
        pruner=_pruner(plan.options),
        adapted=_adapted(plan.options),
        pretrained=pretrained,
    )


def _adapted(options: TrainOptions) -> Adapted | None:
    if not options.adapts:
        return None
    return Adapted(strip_prefix=options.strip_prefix, new_head=options.new_head)


def _earlier(parent: CheckpointRecord) -> tuple[Mapping[str, Scalar], ...]:
    """The settings of all trainings up to a checkpoint's, the oldest first."""
    return (*(parent.earlier or ()), parent.settings or {})


def _pruner(options: TrainOptions) -> PrunerRecord | None:
    if options.pruner is None:
        return None
    return PrunerRecord(
        name=options.pruner,
        options=registry.bind("pruners", options.pruner, options.pruner_options),
        ignore=options.ignore,
        exclude_classifier=options.exclude_classifier,
    )


def _model(plan: Plan, data: Images) -> ModelRecord:
    options = plan.options
    if options.model is not None:
        return ModelRecord(
            name=options.model,
            options=registry.bind("models", options.model, options.model_options),
            input_shape=data.input_shape,
            classes=len(data.classes),
        )
    own = plan.parent.says(CheckpointRecord) if plan.parent else None
    assert own is not None and own.model is not None, "checked in `prepared`"
    try:
        check_data_fits(own.model, own.classes, data)
    except Mismatch as error:
        mend = "--model NAME --new-head takes its weights up, with a last layer for these"
        raise Mismatch(f"{error}; {mend}") from None
    return _described(options, own.model)


def _described(options: TrainOptions, own: ModelRecord) -> ModelRecord:
    """The network of a checkpoint, with the options that were given."""
    given = registry.bind("models", own.name, {**own.options, **options.model_options})
    return replace(own, options=given)
