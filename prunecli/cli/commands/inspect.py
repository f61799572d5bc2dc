from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import click

from prunecli.cli.base import FILE, command
from prunecli.errors import printable
from prunecli.files.meta import STATE, fits
from prunecli.settings.run import Form

EXAMPLES = """
prunecli inspect ckpt.safetensors
prunecli inspect llama/ --json | jq .parameters
"""


@command("inspect", examples=EXAMPLES)
@click.argument("file", type=FILE)
def inspect(file: Path, form: Form) -> None:
    """Say what FILE is: kind, lineage and tensors. Nothing in it is run or followed.

    Of a checkpoint, exact zeros are counted too, and of each tensor the tightest pattern N:M that
    holds, for an M of 2, 4, 8, 16 or 32 and at most half of the weights.
    """
    from prunecli.steps.inspect import inspect as step

    facts = step(file)
    if form.json:
        click.echo(json.dumps(facts))
        return
    for line in _lines(facts):
        click.echo(printable(line))


def _lines(facts: dict[str, Any]) -> list[str]:
    meta = facts["meta"] or {}
    density = (meta.get("density") or {}).get("per_tensor") or {}
    lines = [f"kind        {facts['kind']}", f"sha256      {facts['sha256']}"]
    lines += [
        f"{key.ljust(11)} {json.dumps(meta[key], ensure_ascii=False)}"
        for key in (
            "model", "dataset", "method", "options", "scope", "rounds", "asked", "seed", "parent",
            "mask",
        )
        if meta.get(key) is not None
    ]  # fmt: skip
    if meta.get("kept"):
        ratio = f"{meta['total'] / meta['kept']:.6g}x"
        lines.append(f"kept        {meta['kept']:,} of {meta['total']:,}, {ratio}")
    if isinstance(collapse := meta.get("collapse"), dict):
        keys = ("dead_layers", "live_path", "effective_density", "max_compression")
        lines += [
            f"{key.replace('_', ' ').ljust(11)} {json.dumps(collapse[key])}"
            for key in keys
            if collapse.get(key) not in (None, [])
        ]
    lines += _progress(meta)
    noun = {"mask": "weights", "scores": "scores"}.get(facts["kind"], "values")
    lines.append(f"{noun.ljust(11)} {facts['parameters']:,} in {len(facts['tensors'])} tensors")
    lines += _zeros(facts)
    if facts["left_whole"]:
        from prunecli.network.coverage import line

        lines.append(line(facts["left_whole"]).replace(": ", "  ", 1))
    prunable = set(facts["prunable"] or ())
    for tensor in facts["tensors"]:
        name, mark = tensor["name"], "prunable" if tensor["name"] in prunable else ""
        mark = f"density {density[name]:.4g}" if name in density else mark
        mark = _kept(tensor) if "kept" in tensor else mark
        shown = ", ".join([mark] * bool(mark) + _values(tensor))
        lines.append(f"  {name}  {tensor['dtype']} {tensor['shape']}  {shown}".rstrip())
    return lines


def _zeros(facts: dict[str, Any]) -> list[str]:
    """What the weights that may be pruned are like, all together."""
    own = [tensor for tensor in facts["tensors"] if tensor["name"] in (facts["prunable"] or ())]
    lines = []
    if facts["zeros"] is not None:
        total = sum(math.prod(tensor["shape"]) for tensor in own)
        share = f", {facts['zeros'] / total:.4g}" if facts["zeros"] else ""
        lines.append(f"zeros       {facts['zeros']:,} of {total:,} weights{share}")
    patterns = Counter(tensor["pattern"] for tensor in own if tensor["pattern"])
    if patterns:
        found = ", ".join(f"{pattern} in {n}" for pattern, n in patterns.most_common())
        lines.append(f"N:M         {found} of {len(own)} weights")
    if facts["pairs"]:
        many = len(facts["pairs"])
        lines.append(f"pairs       {many} tensors are X_orig and X_mask of torch.nn.utils.prune")
    return lines


def _values(tensor: dict[str, Any]) -> list[str]:
    """What is remarkable in a tensor's values."""
    found = []
    if tensor.get("zeros"):
        found.append(f"zeros {tensor['zeros'] / math.prod(tensor['shape']):.4g}")
    if tensor.get("pattern"):
        found.append(tensor["pattern"])
    if tensor.get("finite") is False:
        found.append("NaN or infinity")
    return found


def _kept(tensor: dict[str, Any]) -> str:
    """How much a mask keeps of a weight."""
    total = math.prod(tensor["shape"])
    return f"keeps {tensor['kept']:,}, density {tensor['kept'] / max(total, 1):.4g}"


def _progress(meta: dict[str, Any]) -> list[str]:
    """How far an interrupted training is."""
    if meta.get("kind") != "state" or not fits(meta, STATE):
        return []
    training, facts = meta["training"], meta["facts"]
    told = {key: facts.get(key) for key in ("model", "dataset", "seed", "parent")}
    lines = [f"{k.ljust(11)} {json.dumps(v, ensure_ascii=False)}" for k, v in told.items() if v]
    return [*lines, f"trained     {len(training['history'])} epochs, {training['step']:,} steps"]
