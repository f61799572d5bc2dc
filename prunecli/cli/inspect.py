from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import click

from prunecli.cli._base import FILE, Command, examples, json_option
from prunecli.errors import printable
from prunecli.files.meta import STATE, fits

EXAMPLES = """
prunecli inspect ckpt.safetensors
prunecli inspect llama/ --json | jq .parameters
"""


@click.command("inspect", cls=Command, epilog=examples(EXAMPLES))
@click.argument("file", type=FILE)
@json_option
def inspect(file: Path, **params: Any) -> None:
    """Say what FILE is: kind, lineage and tensors. Nothing in it is run or followed."""
    from prunecli.steps.inspect import inspect as step

    facts = step(file)
    if params["json"]:
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
    prunable = set(facts["prunable"] or ())
    for tensor in facts["tensors"]:
        name, mark = tensor["name"], "prunable" if tensor["name"] in prunable else ""
        mark = f"density {density[name]:.4g}" if name in density else mark
        mark = _kept(tensor) if "kept" in tensor else mark
        lines.append(f"  {name}  {tensor['dtype']} {tensor['shape']}  {mark}".rstrip())
    return lines


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
