"""`eval`: from a checkpoint to its accuracy and its cost."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from prunecli.errors import BadInput
from prunecli.files.artifacts import open_artifact
from prunecli.files.atomic import write_text
from prunecli.files.claims import check_output, claimed
from prunecli.files.names import sibling, stem
from prunecli.files.parsing import parsed
from prunecli.files.records import CheckpointRecord, Collapse, MaskOrigin, ModelRecord
from prunecli.files.results import Epoch, Layer, Result, Spread, as_json
from prunecli.files.tensors import TensorFile
from prunecli.images.batches import ImageBatches, eval_batch
from prunecli.images.source import Source
from prunecli.masks.fitting import open_mask
from prunecli.masks.left import kept_bits, left_over
from prunecli.masks.lineage import mask_origin
from prunecli.masks.mask import apply_
from prunecli.network.build import load_model
from prunecli.network.collapse import diagnosis
from prunecli.network.flops import count_flops, sparse_flops
from prunecli.network.layers import prunable
from prunecli.runtime.device import pick_device, pick_precision, put_on, unrepeatable
from prunecli.runtime.versions import versions
from prunecli.settings.eval import EvalSettings
from prunecli.settings.run import RunOptions
from prunecli.steps._zeros import warn_of_zeros
from prunecli.tensors.histogram import histogram
from prunecli.training.loop import evaluate
from prunecli.types import Mask, Params


def evaluation(checkpoint: Path, settings: EvalSettings, run: RunOptions) -> Path:
    """Evaluate a checkpoint on its test set and write the result as JSON.

    With a mask, the masked weights are zeroed first. `throughput` also measures images per second,
    which differs from run to run; without it that key is null and the file is reproducible.
    """
    settings.check()
    file = open_artifact(checkpoint, "checkpoint")
    history = _history(file)
    kept, mask_file = open_mask(settings.mask, file) if settings.mask else ({}, None)
    device = pick_device(run.device)
    source = Source.of(settings.data, file.says(CheckpointRecord))
    model = load_model(file).eval()
    apply_(dict(model.named_parameters()), kept)
    output = run.output or _output_name(checkpoint, file, mask_file)
    inputs = file.paths + (mask_file.paths if mask_file else [])
    check_output(output, inputs, force=run.force)
    if run.dry_run:
        return output
    with claimed(output, inputs, force=run.force, wait=run.wait) as target:
        record = file.says(CheckpointRecord)
        assert record.model is not None, "its network is loaded"
        # Before the network sees an image of the size that it claims.
        data = source.load("test", record, run.progress)
        lineage = _mask_in_use(file, mask_file)
        if lineage is None:
            warn_of_zeros(prunable(model), file.label, run.progress)
        own = lineage is not None and lineage is record.mask
        bits = kept_bits(file, kept, own=own)
        state = diagnosis(bits, model, record.model.input_shape)
        layers = _layers(file, {} if own else kept, state)
        if settings.histograms:
            logged = (history[-1].spread or {}) if history and own else {}
            layers = _spread(layers, prunable(model), logged, masked=lineage is not None)
        network = _network(model, record.model, layers, state)
        put_on(model, device)
        size = settings.batch_size or eval_batch(device, data.input_shape)
        test = ImageBatches(data, device, size)
        exact = pick_precision(settings.precision, device)
        with unrepeatable(run.progress.warn):
            accuracy = evaluate(model, test, exact, device)
            speed = _images_per_second(model, test, exact, device) if settings.throughput else None
        measured = _Measured(**accuracy, images_per_second=speed, precision=exact)
        result = _result(file, source, lineage, history, network, measured)
        result = replace(result, label=settings.label, classes=len(data.classes))
        write_text(target, as_json(result))
    return output


def _mask_in_use(file: TensorFile, mask: TensorFile | None) -> MaskOrigin | None:
    """The lineage of the mask that is evaluated: the one given, if it is not in the file anyway."""
    own = file.says(CheckpointRecord).mask
    if mask is None or (own and own.sha256 == mask.sha256):
        return own
    return mask_origin(mask)


def _output_name(checkpoint: Path, file: TensorFile, mask: TensorFile | None) -> Path:
    """The result's path, named after the checkpoint, or after a mask that is not in it yet.

    The mask's may be 'dense.lamp.0.1.eval.json'.
    """
    own = file.says(CheckpointRecord).mask
    basis = mask.path if mask and _mask_in_use(file, mask) is not own else checkpoint
    return sibling(checkpoint, f"{stem(basis)}.eval.json")


def _layers(file: TensorFile, mask: Mask, state: Collapse) -> tuple[Layer, ...]:
    return tuple(
        Layer(
            name=name,
            shape=tuple(file.shapes[name]),
            total=file.entry(name).numel,
            kept=count,
            dead_inputs=state.dead_inputs[name],
            dead_outputs=state.dead_outputs[name],
        )
        for name, count in left_over(file, mask).kept.items()
    )


def _spread(
    layers: tuple[Layer, ...],
    weights: Params,
    logged: Mapping[str, Spread],
    *,
    masked: bool,
) -> tuple[Layer, ...]:
    """The layers with how their weights are spread, without those that the mask removed.

    Where the training's log tells it, that is taken: of the weights that a threshold was last
    applied to, of which the checkpoint has only what passed.
    """

    def facts(name: str) -> Mapping[str, Any]:
        if name in logged:
            return logged[name].part(Spread)
        weight = weights[name].detach()
        return histogram(weight[weight != 0] if masked else weight)._asdict()

    return tuple(replace(layer, **facts(layer.name)) for layer in layers)


class _Network(NamedTuple):
    """What remains of the network, and its cost."""

    layers: tuple[Layer, ...]
    effective_density: float | None
    live_path: bool | None
    parameters: int
    flops_dense: int
    flops_sparse: int


def _network(
    model: nn.Module, described: ModelRecord, layers: tuple[Layer, ...], state: Collapse
) -> _Network:
    total, by_layer = count_flops(model, described.input_shape)
    return _Network(
        layers,
        state.effective_density,
        state.live_path,
        sum(parameter.numel() for parameter in model.parameters()),
        total,
        sparse_flops(total, by_layer, {layer.name: layer.density for layer in layers}),
    )


def _images_per_second(
    model: nn.Module, test: ImageBatches, precision: str, device: torch.device
) -> float:
    """Images per second in a whole evaluation, the second of two: the first one warms up."""
    began = time.perf_counter()
    evaluate(model, test, precision, device)
    return len(test.labels) / (time.perf_counter() - began)


class _Measured(NamedTuple):
    """What it takes images to know, and how that was done."""

    top1: float
    top5: float
    loss: float
    images_per_second: float | None
    precision: str


def _result(
    file: TensorFile,
    source: Source,
    mask: MaskOrigin | None,
    history: tuple[Epoch, ...] | None,
    network: _Network,
    measured: _Measured,
) -> Result:
    own = file.says(CheckpointRecord)
    assert own.model is not None, "its network is loaded"
    total, left = sum(x.total for x in network.layers), sum(x.kept for x in network.layers)
    density, reached = _reached(left, total, mask)
    # A mask of which nothing was asked, because its method decides that, or something else made
    # it, got what it has. 1 / (1 / 49) is 49.00000000000001; what was asked for is 49.
    told = mask.asked if mask and not mask.critical else None
    asked = float(f"{1 / told:.12g}") if told else reached
    return Result(
        density=density,
        sparsity=1 - density,
        asked=told,
        compression=asked,
        empirical_compression=reached,
        compression_error=(reached - asked) / asked,
        nonzero=left,
        prunable=total,
        dead_layers=tuple(layer.name for layer in network.layers if layer.kept == 0),
        **network._asdict(),
        **measured._asdict(),
        model=own.model.name,
        dataset=source.dataset,
        method=mask.method if mask else None,
        options=mask.options if mask else None,
        scope=mask.scope if mask else None,
        rounds=mask.rounds if mask else None,
        nested=bool(mask and mask.nested),
        rounds_schedule=mask.schedule if mask else None,
        count=mask.count if mask else None,
        left_out=mask.left_out if mask else None,
        scoring=mask.scoring if mask else None,
        mask_seed=mask.seed if mask else None,
        rewound=own.rewind is not None,
        rewound_to=own.rewound_to,
        earlier=own.earlier,
        model_options=own.model.options,
        dataset_options=source.options,
        mask_epochs=mask.epochs if mask else None,
        seed=own.seed,
        settings=own.settings,
        history=history,
        checkpoint_sha256=file.sha256,
        mask_sha256=mask.sha256 if mask else None,
        versions=versions(),
        rule=mask.rule if mask else None,
        critical=mask.critical if mask else None,
    )


def _reached(left: int, total: int, mask: MaskOrigin | None) -> tuple[float, float]:
    """Density and compression, counted as the mask counts, if that is what is left.

    The mask may count more than the weights that it covers, or less, and the checkpoint may lack
    more than it removed.
    """
    if mask and mask.kept and mask.total:
        removed = mask.total - mask.kept
        if mask.kept == left or removed == total - left:
            return mask.kept / mask.total, mask.total / mask.kept
    return left / total, total / max(left, 1)


def _history(file: TensorFile) -> tuple[Epoch, ...] | None:
    """The log of the checkpoint's training. Raises BadInput for what is no line of a log."""
    lines = file.says(CheckpointRecord).history
    if lines is None:
        return None
    try:
        return tuple(parsed(Epoch, line, f"history[{i}]") for i, line in enumerate(lines))
    except ValueError as error:
        raise BadInput(f"{file.label}: {error}") from None
