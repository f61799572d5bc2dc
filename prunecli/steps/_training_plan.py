"""What a training is to do: options to a plan, checked before any data is read, and its lineage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from prunecli.errors import BadOutput, BadUsage, Mismatch, printable
from prunecli.files.artifacts import open_artifact
from prunecli.files.claims import check_output, settle_before
from prunecli.files.names import sibling, stem
from prunecli.files.tensors import TensorFile
from prunecli.images.source import Source, check_data_fits, fingerprint
from prunecli.masks.fitting import open_mask
from prunecli.network.build import NO_MODEL, check_described
from prunecli.plugins import registry
from prunecli.runtime.device import pick_device, pick_precision
from prunecli.runtime.world import World
from prunecli.settings.run import RunOptions
from prunecli.settings.table import flag_said
from prunecli.settings.train import TrainingSettings
from prunecli.settings.training import OF_THE_MACHINE, Hyperparameters
from prunecli.steps._lineage import mask_lineage
from prunecli.steps._pretrained import has_pretrained
from prunecli.steps._training_files import log_beside, mask_beside, state_beside
from prunecli.types import Images, Mask


@dataclass(frozen=True)
class Plan:
    """What can be known, and checked, before the data is read."""

    options: TrainingSettings
    parent: TensorFile | None
    start: TensorFile | None
    mask: Mask | None
    mask_file: TensorFile | None
    seed: int
    device: torch.device
    settings: Hyperparameters
    source: Source
    output: Path
    inputs: list[Path]
    beside: dict[Path, bool]
    """Files that come with the output, and whether each may replace an earlier one."""

    @property
    def evaluates(self) -> bool:
        return self.options.eval_every_epoch and self.settings.epochs > 0


def prepared(options: TrainingSettings, run: RunOptions, world: World) -> Plan:
    parent = open_artifact(options.checkpoint, "checkpoint") if options.checkpoint else None
    start = open_artifact(options.rewind, "checkpoint") if options.rewind else parent
    meta = (parent.meta if parent else None) or {}
    mask, mask_file = None, None
    if options.mask:
        if start is None:
            raise BadUsage("--mask needs the checkpoint that it was made for")
        mask, mask_file = open_mask(options.mask, start)
        if options.pruner:
            raise BadUsage("--pruner makes its own mask; leave --mask out")
    elif meta.get("mask"):
        run.progress.warn(
            "the checkpoint is masked but no --mask was given: its pruned weights will grow back"
        )
    idle = flag_said(options, "pruner_options", "ignore", "exclude_classifier")
    if idle and options.pruner is None:
        raise BadUsage(f"{idle} needs --pruner")
    if options.model.name is None:
        if not meta.get("model"):
            raise BadUsage(
                NO_MODEL.format(start.label) if start else "which model? name it with --model"
            )
        assert start is not None, "what has metadata is a file"
        check_described(_described(options, meta), start)
    source = Source.of(options.data, meta if parent else None)
    if options.model.name is not None:
        registry.bind("models", options.model.name, options.model.options)
    _check_adapts(options)
    if options.model.pretrained and options.checkpoint:
        raise BadUsage("--pretrained starts afresh; leave the checkpoint out")
    if options.model.pretrained and not has_pretrained(options.model.name or ""):
        raise BadUsage("--pretrained is for --model torchvision:NAME")
    if options.pruner is not None:
        registry.bind("pruners", options.pruner, options.pruner_options)
    output = run.output or _output_name(options, source)
    inputs = [path for file in (parent, start, mask_file) if file for path in file.places]
    device = pick_device(run.device, world.place)
    seed = run.seed if run.seed is not None else meta.get("seed") or 0
    settings = _settings(options.given, meta, device)
    if settings.compile and world.size > 1:
        raise BadUsage("--compile is for a training in one process")
    beside = _checked_outputs(output, inputs, options, settings.epochs, run.force)
    run.progress.detail(f"on {device}: {settings}")
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


def _check_adapts(options: TrainingSettings) -> None:
    """Raises BadUsage unless there are weights to change, and a model that they are to fit."""
    given = options.checkpoint and options.model.name is not None
    if options.model.strip_prefix is not None and not given:
        raise BadUsage("--strip-prefix is for a CHECKPOINT that is given a --model")
    if options.model.new_head and not (given or options.model.pretrained):
        raise BadUsage("--new-head is for a CHECKPOINT that is given a --model, or --pretrained")


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
            f"{printable(str(state))}: a training of this output was stopped; go on with --resume, "
            "or start anew with --force"
        )
    names = [log_beside(target)] * (epochs > 0) + [mask_beside(target)] * bool(options.pruner)
    for path in names:
        check_output(path, inputs, force=force)
    return dict.fromkeys(names, force)


def _settings(
    said: Mapping[str, Any], meta: Mapping[str, Any], device: torch.device
) -> Hyperparameters:
    """What was said, else what the checkpoint was trained with, else the defaults.

    Precision and compilation are the machine's business, so they are not taken over.
    """
    known = {f.name for f in fields(Hyperparameters)} - set(OF_THE_MACHINE)
    inherited = meta.get("settings") or {}
    if inherited.get("epochs") == 0 and "epochs" not in said:
        raise BadUsage("for how many epochs? the checkpoint is untrained; say it with --epochs")
    merged = {k: v for k, v in inherited.items() if k in known} | dict(said)
    settings = Hyperparameters(**merged)
    settings.check()
    return replace(settings, precision=pick_precision(settings.precision, device))


def _output_name(options: TrainingSettings, source: Source) -> Path:
    pruner = (options.pruner or "").replace(":", ".")
    if options.checkpoint is None:
        name = f"{options.model.name}.{source.dataset}{pruner and f'.{pruner}'}.safetensors"
        return Path(name.replace(":", "."))
    basis = options.mask or options.checkpoint
    verb = pruner or ("finetuned" if options.mask else "trained")
    return sibling(options.checkpoint, f"{stem(basis)}.{verb}.safetensors")


def lineage(plan: Plan, data: Images) -> dict[str, Any]:
    """The lineage of the checkpoint to be; a resumed run must agree with it in every point."""
    rewound = plan.start if plan.start is not plan.parent else None
    return {
        "model": _model_facts(plan, data),
        "dataset": {
            "name": plan.source.dataset,
            "options": dict(plan.source.options),
            "sha256": fingerprint(data),
        },
        "seed": plan.seed,
        "settings": asdict(plan.settings),
        "device": plan.device.type,
        "parent": plan.parent.sha256 if plan.parent else None,
        "rewind": rewound.sha256 if rewound else None,
        "rewound_to": _settings_of(rewound).get("epochs") if rewound else None,
        "earlier": _earlier(plan.parent) if plan.parent else None,
        "mask": mask_lineage(plan.mask_file, plan.settings.epochs) if plan.mask_file else None,
        "pruner": _pruner_facts(plan.options),
        **_adapted(plan.options),
    }


def _adapted(options: TrainingSettings) -> dict[str, Any]:
    if not options.model.adapts:
        return {}
    return {
        "adapted": {"strip_prefix": options.model.strip_prefix, "new_head": options.model.new_head}
    }


def _settings_of(checkpoint: TensorFile) -> dict[str, Any]:
    return (checkpoint.meta or {}).get("settings") or {}


def _earlier(parent: TensorFile) -> list[dict[str, Any]]:
    """The settings of all trainings up to a checkpoint's, the oldest first."""
    return [*((parent.meta or {}).get("earlier") or []), _settings_of(parent)]


def _pruner_facts(options: TrainingSettings) -> dict[str, Any] | None:
    if options.pruner is None:
        return None
    return {
        "name": options.pruner,
        "options": registry.bind("pruners", options.pruner, options.pruner_options),
        "ignore": list(options.ignore),
        "exclude_classifier": options.exclude_classifier,
    }


def _model_facts(plan: Plan, data: Images) -> dict[str, Any]:
    options = plan.options
    if options.model.name is not None:
        return {
            "name": options.model.name,
            "options": registry.bind("models", options.model.name, options.model.options),
            "input_shape": list(data.input_shape),
            "classes": len(data.classes),
        }
    assert plan.parent is not None and plan.parent.meta is not None, "checked in `prepared`"
    try:
        check_data_fits(plan.parent.meta, data)
    except Mismatch as error:
        mend = "--model NAME --new-head takes its weights up, with a last layer for these"
        raise Mismatch(f"{error}; {mend}") from None
    return _described(options, plan.parent.meta)


def _described(options: TrainingSettings, meta: Mapping[str, Any]) -> dict[str, Any]:
    """The network of a checkpoint, with the options that were given."""
    own = meta["model"]
    given = registry.bind("models", own["name"], {**own["options"], **options.model.options})
    return {**own, "options": given}
