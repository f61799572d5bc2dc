"""The result of `inspect` as readable lines."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from prunecli.files.parsing import Record, parsed, table
from prunecli.files.records import (
    CheckpointRecord,
    LeftWhole,
    MaskRecord,
    StateRecord,
    record_of,
)
from prunecli.network.coverage import line

TOLD = (
    "model", "dataset", "method", "options", "scope", "rounds", "asked", "seed", "parent", "mask",
)  # fmt: skip
"""The metadata keys that are printed."""


def lines_of(facts: dict[str, Any]) -> list[str]:
    """Lines that describe a file; `facts` comes from `steps.inspect`."""
    record = record_of(facts["meta"]) if facts["meta"] else Record()
    lines = [f"kind        {facts['kind']}", f"sha256      {facts['sha256']}"]
    lines += _told(facts["meta"] or {}, TOLD)
    if isinstance(record, MaskRecord):
        lines += _kept_in_all(record)
    if isinstance(record, StateRecord):
        lines += _progress(record)
    noun = {"mask": "weights", "scores": "scores"}.get(facts["kind"], "values")
    lines.append(f"{noun.ljust(11)} {facts['parameters']:,} in {len(facts['tensors'])} tensors")
    lines += _zeros(facts)
    if facts["left_whole"]:
        whole = parsed(LeftWhole, facts["left_whole"])
        lines.append(line(whole).replace(": ", "  ", 1))
    prunable = set(facts["prunable"] or ())
    own = record.density if isinstance(record, CheckpointRecord | MaskRecord) else None
    density = own.per_tensor if own else {}
    for tensor in facts["tensors"]:
        name, mark = tensor["name"], "prunable" if tensor["name"] in prunable else ""
        mark = f"density {density[name]:.4g}" if name in density else mark
        mark = _kept(tensor) if "kept" in tensor else mark
        shown = ", ".join([mark] * bool(mark) + _values(tensor))
        lines.append(f"  {name}  {tensor['dtype']} {tensor['shape']}  {shown}".rstrip())
    return lines


def _zeros(facts: dict[str, Any]) -> list[str]:
    """The zeros and patterns of all prunable weights."""
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
    """Notable facts about a tensor's values."""
    found = []
    if tensor.get("zeros"):
        found.append(f"zeros {tensor['zeros'] / math.prod(tensor['shape']):.4g}")
    if tensor.get("pattern"):
        found.append(tensor["pattern"])
    if tensor.get("finite") is False:
        found.append("NaN or infinity")
    return found


def _kept(tensor: dict[str, Any]) -> str:
    """What a mask keeps of a weight, in words."""
    total = math.prod(tensor["shape"])
    return f"keeps {tensor['kept']:,}, density {tensor['kept'] / max(total, 1):.4g}"


def _told(table: Mapping[str, Any], keys: Iterable[str]) -> list[str]:
    """The metadata under these keys."""
    there = [key for key in keys if key in table and table[key] is not None]
    return [f"{key.ljust(11)} {json.dumps(table[key], ensure_ascii=False)}" for key in there]


def _kept_in_all(mask: MaskRecord) -> list[str]:
    """Lines about what a mask keeps, and its effect on the network."""
    lines = []
    if mask.kept and mask.total:
        ratio = f"{mask.total / mask.kept:.6g}x"
        lines.append(f"kept        {mask.kept:,} of {mask.total:,}, {ratio}")
    keys = ("dead_layers", "live_path", "effective_density", "max_compression")
    said = table(mask.collapse) if mask.collapse else {}
    collapse = {key: value for key, value in said.items() if value != []}
    return lines + [each.replace("_", " ", 1) for each in _told(collapse, keys)]


def _progress(state: StateRecord) -> list[str]:
    """Lines about the progress of an interrupted training."""
    lines = _told(state.facts, ("model", "dataset", "seed", "parent"))
    done = f"{len(state.training.history)} epochs, {state.training.step:,} steps"
    return [*lines, f"trained     {done}"]
