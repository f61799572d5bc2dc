"""`eval`: from a checkpoint to what it can do and what it costs."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from prunecli.files.artifacts import open_artifact
from prunecli.files.atomic import write_text
from prunecli.files.claims import check_output, claimed
from prunecli.files.names import sibling, stem
from prunecli.files.tensors import TensorFile
from prunecli.images.batches import ImageBatches, eval_batch
from prunecli.images.source import Source
from prunecli.masks.fitting import open_mask
from prunecli.masks.left import kept_bits, left_over
from prunecli.masks.mask import apply_
from prunecli.network.build import load_model
from prunecli.network.collapse import diagnosis
from prunecli.network.flops import count_flops, sparse_flops
from prunecli.network.layers import prunable
from prunecli.runtime.device import pick_device, pick_precision, place, unrepeatable
from prunecli.runtime.versions import versions
from prunecli.settings.eval import EvalSettings
from prunecli.settings.run import RunOptions
from prunecli.steps._lineage import mask_lineage
from prunecli.steps._zeros import warn_of_zeros
from prunecli.training.loop import evaluate
from prunecli.types import Mask


def evaluation(checkpoint: Path, settings: EvalSettings, run: RunOptions) -> Path:
    """Evaluate a checkpoint on its test set and write the result as JSON.

    With a mask, the masked weights are zeroed first. `throughput` also measures images per second,
    which no two runs agree on; without it that key is null and the file is repeatable.
    """
    file = open_artifact(checkpoint, "checkpoint")
    kept, mask_file = open_mask(settings.mask, file) if settings.mask else ({}, None)
    device = pick_device(run.device)
    source = Source.of(settings.data, file.meta)
    model = load_model(file).eval()
    apply_(dict(model.named_parameters()), kept)
    output = run.output or _output_name(checkpoint, file, mask_file)
    inputs = file.places + (mask_file.places if mask_file else [])
    check_output(output, inputs, force=run.force)
    if run.dry_run:
        return output
    with claimed(output, inputs, force=run.force, wait=run.wait) as target:
        meta = file.meta or {}
        # Before the network sees an image of the size that it claims.
        data = source.load("test", meta, run.progress)
        lineage = _mask_in_use(file, mask_file)
        if lineage is None:
            warn_of_zeros(prunable(model), file.label, run.progress)
        own = lineage is not None and lineage is meta.get("mask")
        bits = kept_bits(file, kept, own=own)
        state = diagnosis(bits, model, tuple(meta["model"]["input_shape"]))
        layers = _layers(file, {} if own else kept, state)
        result = _densities(layers, lineage) | _costs(model, meta, layers)
        result |= {key: state[key] for key in ("effective_density", "live_path")}
        place(model, device)
        size = settings.batch_size or eval_batch(device, data.input_shape)
        test = ImageBatches(data, device, size)
        exact = pick_precision(settings.precision, device)
        with unrepeatable(run.progress.warn):
            result |= evaluate(model, test, exact, device)
            speed = _images_per_second(model, test, exact, device) if settings.throughput else None
        result |= {"images_per_second": speed, "precision": exact}
        result |= _lineage(file, source, lineage)
        write_text(target, json.dumps(result, indent=1, allow_nan=False) + "\n")
    return output


def _mask_in_use(file: TensorFile, mask: TensorFile | None) -> dict[str, Any] | None:
    """The lineage of the mask that is evaluated: the one given, if it is not in the file anyway."""
    own: dict[str, Any] | None = (file.meta or {}).get("mask")
    if mask is None or (own and own["sha256"] == mask.sha256):
        return own
    return mask_lineage(mask)


def _output_name(checkpoint: Path, file: TensorFile, mask: TensorFile | None) -> Path:
    """After the checkpoint, or after a mask that is not in it yet: 'dense.lamp.0.1.eval.json'."""
    own = (file.meta or {}).get("mask")
    basis = mask.path if mask and _mask_in_use(file, mask) is not own else checkpoint
    return sibling(checkpoint, f"{stem(basis)}.eval.json")


def _layers(file: TensorFile, mask: Mask, state: dict[str, Any]) -> list[dict[str, Any]]:
    """Name, shape, size, kept weights and dead channels of each prunable tensor under the mask."""
    return [
        {
            "name": name,
            "shape": list(file.shapes[name]),
            "total": file.entry(name).numel,
            "kept": count,
            "dead_inputs": state["dead_inputs"][name],
            "dead_outputs": state["dead_outputs"][name],
        }
        for name, count in left_over(file, mask)["kept"].items()
    ]


def _densities(layers: list[dict[str, Any]], lineage: dict[str, Any] | None) -> dict[str, Any]:
    """How much is left, and how that compares with what was asked of the mask.

    A mask of which nothing was asked, because its method decides that, or something else made it,
    got what it has.
    """
    total, left = sum(x["total"] for x in layers), sum(x["kept"] for x in layers)
    mask = lineage or {}
    # The mask may count more than the weights that it covers, or less, and the checkpoint may lack
    # more than it removed.
    removed = mask["total"] - mask["kept"] if mask.get("kept") else None
    of_mask = removed is not None and (mask["kept"] == left or removed == total - left)
    own = mask["kept"] / mask["total"] if of_mask else left / total
    reached = mask["total"] / mask["kept"] if of_mask else total / max(left, 1)
    # 1 / (1 / 49) is 49.00000000000001; what was asked for is 49.
    asked = float(f"{1 / mask['asked']:.12g}") if mask.get("asked") else reached
    return {
        "density": own,
        "sparsity": 1 - own,
        "asked": mask.get("asked"),
        "compression": asked,
        "empirical_compression": reached,
        "compression_error": (reached - asked) / asked,
        "nonzero": left,
        "prunable": total,
        "dead_layers": [x["name"] for x in layers if x["kept"] == 0],
        "layers": layers,
    }


def _costs(model: nn.Module, meta: dict[str, Any], layers: list[dict[str, Any]]) -> dict[str, Any]:
    total, by_layer = count_flops(model, tuple(meta["model"]["input_shape"]))
    densities = {layer["name"]: layer["kept"] / layer["total"] for layer in layers}
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "flops_dense": total,
        "flops_sparse": sparse_flops(total, by_layer, densities),
    }


def _images_per_second(
    model: nn.Module, test: ImageBatches, precision: str, device: torch.device
) -> float:
    """Of a whole evaluation, the second of two: the first one warms up."""
    began = time.perf_counter()
    evaluate(model, test, precision, device)
    return len(test.labels) / (time.perf_counter() - began)


def _lineage(file: TensorFile, source: Source, lineage: dict[str, Any] | None) -> dict[str, Any]:
    meta, mask = file.meta or {}, lineage or {}
    return {
        "model": meta["model"]["name"],
        "dataset": source.dataset,
        "method": mask.get("method"),
        "options": mask.get("options"),
        "scope": mask.get("scope"),
        "rounds": mask.get("rounds"),
        "nested": mask.get("nested", False),
        "rounds_schedule": mask.get("schedule"),
        "count": mask.get("count"),
        "left_out": mask.get("left_out"),
        "scoring": mask.get("scoring"),
        "mask_seed": mask.get("seed"),
        "rewound": meta.get("rewind") is not None,
        "rewound_to": meta.get("rewound_to"),
        "earlier": meta.get("earlier"),
        "model_options": meta["model"]["options"],
        "dataset_options": dict(source.options),
        "mask_epochs": mask.get("epochs"),
        "seed": meta.get("seed"),
        "settings": meta.get("settings"),
        "history": meta.get("history"),
        "checkpoint_sha256": file.sha256,
        "mask_sha256": mask.get("sha256"),
        "versions": versions(),
    }
