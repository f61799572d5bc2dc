"""`train` and `finetune`: from a checkpoint, or nothing, to a trained checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from prunecli import registry, training
from prunecli.batches import ImageBatches, derive_seed
from prunecli.device import pick_device, pick_precision, place
from prunecli.errors import BadUsage, Mismatch, NotFinite
from prunecli.files.artifacts import (
    canonical,
    open_artifact,
    read_state_dict,
    untied,
    write_artifact,
)
from prunecli.files.atomic import check_output, claimed, write_text
from prunecli.files.tensors import TensorFile
from prunecli.interrupts import deferred_interrupts
from prunecli.masks import aligned, all_finite, apply_, classifier, prunable
from prunecli.pruners._fixed import Fixed
from prunecli.steps._common import (
    Common,
    Source,
    beside,
    build_model,
    check_data_fits,
    density_facts,
    fingerprint,
    load_weights,
    mask_lineage,
    open_mask,
    stem,
    versions,
)
from prunecli.types import Images, Mask, Pruner


@dataclass(frozen=True)
class TrainOptions:
    """What to train and from where. `settings` holds only what was said; see `_settings`."""

    checkpoint: Path | None = None
    mask: Path | None = None
    rewind: Path | None = None
    model: str | None = None
    model_options: Mapping[str, Any] = field(default_factory=dict)
    source: Source = field(default_factory=Source)
    settings: Mapping[str, Any] = field(default_factory=dict)
    resume: bool = False
    eval_every_epoch: bool = True


def train(options: TrainOptions, common: Common) -> Path:
    """Train a network and write its checkpoint, log and, while under way, its training state.

    Weights come from `rewind`, else `checkpoint`, else from the model's own initialisation under
    the seed. With a mask, masked weights are exactly zero after every step and in the file. What
    is not said is taken over from the checkpoint: model, data set, settings.

    Raises BadUsage, Mismatch or BadOutput before the first batch, NotFinite if training diverges.
    """
    parent = open_artifact(options.checkpoint, "checkpoint") if options.checkpoint else None
    start = open_artifact(options.rewind, "checkpoint") if options.rewind else parent
    seed = common.seed
    if seed is None:
        seed = ((parent.meta if parent else None) or {}).get("seed") or 0
    device = pick_device(common.device)
    settings = _settings(options.settings, parent, device)
    source = options.source.resolved(parent.meta if parent else None)
    mask, mask_file = open_mask(options.mask, start) if options.mask and start else (None, None)
    if options.mask and start is None:
        raise BadUsage("--mask needs the checkpoint that it was made for")
    output = common.output or _output_name(options, source)
    inputs = [p for p in (options.checkpoint, options.mask, options.rewind) if p is not None]
    check_output(output, inputs, force=common.force)
    _warn_of_growth(parent, mask, common)
    if common.dry_run:
        return output
    with claimed(output, inputs, force=common.force, wait=common.wait) as target:
        data = source.load("train")
        facts: dict[str, Any] = {
            "model": _model_facts(options, parent, data),
            "dataset": {
                "name": source.dataset,
                "options": dict(source.options),
                "sha256": fingerprint(data),
            },
            "seed": seed,
            "settings": asdict(settings),
            "parent": parent.sha256 if parent else None,
            "rewind": start.sha256 if start and start is not parent else None,
            "mask": mask_lineage(mask_file) if mask_file else None,
        }
        torch.manual_seed(derive_seed(seed, "init"))
        model = build_model(facts["model"])
        if start is not None:
            load_weights(model, read_state_dict(start), start.label)
        place(model, device)
        batches = ImageBatches(data, device, settings.batch_size)
        state = training.new_state(
            model, settings, Fixed(mask) if mask is not None else Pruner(), len(batches)
        )
        files = _Files(target, facts, state)
        if options.resume:
            files.resume(common)
        test = None
        if options.eval_every_epoch and settings.epochs:
            test = ImageBatches(source.load("test", facts["model"]), device, training.EVAL_BATCH)
        with deferred_interrupts() as interrupted:
            training.train(
                state,
                batches,
                settings,
                seed,
                device,
                test=test,
                save=files.save,
                interrupted=interrupted,
                progress=common.progress,
            )
        files.finish(data, mask)
    return output


def _settings(
    given: Mapping[str, Any], parent: TensorFile | None, device: torch.device
) -> training.Settings:
    """What was said, else what the checkpoint was trained with, else the defaults."""
    known = {f.name for f in fields(training.Settings)}
    inherited = ((parent.meta if parent else None) or {}).get("settings") or {}
    if inherited.get("epochs") == 0 and "epochs" not in given:
        raise BadUsage("for how many epochs? the checkpoint is untrained; say it with --epochs")
    merged = {k: v for k, v in inherited.items() if k in known} | dict(given)
    settings = training.Settings(**merged)
    precision = pick_precision(settings.precision, device)
    return training.Settings(**{**asdict(settings), "precision": precision})


def _output_name(options: TrainOptions, source: Source) -> Path:
    if options.checkpoint is None:
        return Path(f"{options.model}.{source.dataset}.safetensors".replace(":", "."))
    basis = options.mask or options.checkpoint
    verb = "finetuned" if options.mask else "trained"
    return options.checkpoint.with_name(f"{stem(basis)}.{verb}.safetensors")


def _warn_of_growth(parent: TensorFile | None, mask: Mask | None, common: Common) -> None:
    if parent is not None and mask is None and (parent.meta or {}).get("mask"):
        common.progress.warn(
            f"{parent.label} is masked but no --mask was given: its pruned weights will grow back"
        )


def _model_facts(options: TrainOptions, parent: TensorFile | None, data: Images) -> dict[str, Any]:
    own = ((parent.meta if parent else None) or {}).get("model")
    if options.model is not None:
        bound = registry.bind("models", options.model, options.model_options)
        return {
            "name": options.model,
            "options": bound,
            "input_shape": list(data.input_shape),
            "classes": len(data.classes),
        }
    if own is None:
        raise BadUsage("which model? name it with --model")
    facts: dict[str, Any] = {**own, "options": {**own["options"], **options.model_options}}
    check_data_fits(facts, data)
    return facts


@dataclass
class _Files:
    """The checkpoint under way: its training state, its log, and at last itself."""

    target: Path
    facts: dict[str, Any]
    state: training.TrainingState

    def save(self) -> None:
        self._write_log()
        write_artifact(
            beside(self.target, "state.safetensors"),
            "state",
            self.state.tensors(),
            {"facts": self.facts, "training": self.state.facts()},
        )

    def resume(self, common: Common) -> None:
        path = beside(self.target, "state.safetensors")
        if not path.exists():
            common.progress.detail(f"nothing to resume beside {self.target.name}: starting afresh")
            return
        file = open_artifact(path, "state")
        meta = file.meta or {}
        changed = _differences(meta["facts"], json.loads(canonical(self.facts)))
        if changed:
            raise Mismatch(
                f"{file.label}: it is of another training: {'; '.join(changed)}; "
                "give the same options, or start afresh without --resume"
            )
        self.state.restore(file, meta["training"])
        common.progress.say(f"resumed after step {self.state.step}")

    def finish(self, data: Images, mask: Mask | None) -> None:
        model = self.state.model
        params = prunable(model)
        kept = mask or {}
        apply_(params, aligned(kept, params))
        everything = {
            name: kept.get(name, torch.ones(weight.shape, dtype=torch.bool))
            for name, weight in params.items()
        }
        tensors, tied = untied(model.state_dict())
        bad = [name for name, t in tensors.items() if t.is_floating_point() and not all_finite(t)]
        if bad:
            raise NotFinite(f"{bad[0]!r} holds NaN or infinity after training; lower --lr")
        meta = {
            **self.facts,
            "classes": data.classes,
            "normalisation": {"mean": data.mean, "std": data.std},
            "prunable": list(params),
            "classifier": classifier(model),
            "density": density_facts(everything),
            "history": self.state.history,
            "tied": tied,
            "versions": versions(),
        }
        write_artifact(self.target, "checkpoint", tensors, meta)
        self._write_log()
        with suppress(FileNotFoundError):
            beside(self.target, "state.safetensors").unlink()

    def _write_log(self) -> None:
        lines = [json.dumps(row) + "\n" for row in self.state.history]
        write_text(beside(self.target, "log.jsonl"), "".join(lines))


def _differences(before: Any, now: Any, place: str = "") -> list[str]:
    """Where two JSON values differ: ['settings.lr was 0.1, now 0.2']."""
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            line
            for key in sorted(before.keys() | now.keys())
            for line in _differences(before.get(key), now.get(key), f"{place}.{key}".strip("."))
        ]
    return [] if before == now else [f"{place} was {before!r}, now {now!r}"]
