"""What a mask leaves whole: how much, and why."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor, nn

from prunecli.files.roles import LAYER, STATISTIC, UNLISTED, VECTOR, Role, roles, roles_of
from prunecli.files.tensors import Form, TensorFile
from prunecli.network.layers import prunable
from prunecli.runtime.progress import Progress

ASKED = "left out as asked"
LARGE = 0.1
"""Share of the weights that is worth a warning."""


def of_file(file: TensorFile, names: Collection[str]) -> dict[str, Any]:
    """What of a checkpoint is left whole where `names` are masked.

    - `tensors`: how many they are, and `weights`, how many weights the checkpoint has in all
    - `reasons`: by what they are, how many tensors and values; of what is no weight, too
    - `beside`: which of the reasons are no weights, such as an optimizer's state
    """
    return _record(file.forms, roles_of(file), names)


def of_model(model: nn.Module, names: Collection[str]) -> dict[str, Any]:
    """As `of_file`, of the checkpoint that a network would be written as."""
    listed = prunable(model)
    first = {id(weight): name for name, weight in listed.items()}
    forms = {
        name: Form.of(tensor)
        for name, tensor in model.state_dict(keep_vars=True).items()
        if isinstance(tensor, Tensor)  # a module may add state of any kind
        and first.setdefault(id(tensor), name) == name
    }
    found = {
        name: LAYER if name in listed else UNLISTED if role.pruned else role
        for name, role in roles(forms).items()
    }
    return _record(forms, found, names)


def of_scores(file: TensorFile, names: Collection[str]) -> dict[str, Any] | None:
    """What scores say was left whole, if they say it, and what of them is now."""
    record: dict[str, Any] | None = (file.meta or {}).get("left_whole")
    left = [name for name in file if name not in names]
    if record is None or not left:
        return record
    tensors, values = record["reasons"].get(ASKED, [0, 0])
    values += sum(file.entry(name).numel for name in left)
    reasons = {**record["reasons"], ASKED: [tensors + len(left), values]}
    return {**record, "tensors": record["tensors"] + len(left), "reasons": reasons}


def _record(
    forms: Mapping[str, Form], found: Mapping[str, Role], names: Collection[str]
) -> dict[str, Any]:
    reasons: dict[str, list[int]] = {}
    tensors = weights = 0
    beside = set()
    masked = set(names)
    for name, role in found.items():
        size = math.prod(forms[name].shape)
        weights += size if role.counts else 0
        if name in masked:
            continue
        what = ASKED if role.pruned else role.what
        count, values = reasons.get(what, [0, 0])
        reasons[what] = [count + 1, values + size]
        tensors += role.counts
        beside |= set() if role.counts else {what}
    return {"tensors": tensors, "weights": weights, "reasons": reasons, "beside": sorted(beside)}


def line(record: Mapping[str, Any]) -> str:
    """The record in one line, the most first."""
    weights = max(record["weights"], 1)
    most = sorted(record["reasons"].items(), key=lambda reason: (-reason[1][1], reason[0]))
    parts = [
        f"{count:,} {what} ({_percent(values / weights)})"
        for what, (count, values) in most
        if what not in record["beside"]
    ]
    count = f"{record['tensors']:,} tensor{'s' * (record['tensors'] != 1)}"
    text = f"left whole: {count}, {_percent(_share(record))} of the weights"
    text += f": {', '.join(parts)}" if parts else ""
    beside = [f"{count:,} {what}" for what, (count, _) in most if what in record["beside"]]
    return f"{text}; and what are none: {', '.join(beside)}" if beside else text


def tell(record: Mapping[str, Any], progress: Progress) -> None:
    """Say it: as a warning where much is left that nobody asked for, aside where it is vectors."""
    unasked = {what: count for what, count in record["reasons"].items() if what != ASKED}
    if _share({**record, "reasons": unasked}) > LARGE:
        progress.warn(line(record))
    elif record["reasons"].keys() <= {VECTOR.what, STATISTIC.what}:  # as all networks have them
        progress.detail(line(record))
    else:
        progress.say(line(record))


def _share(record: Mapping[str, Any]) -> float:
    """Of the weights that are left whole."""
    reasons, beside = record["reasons"].items(), record["beside"]
    left = sum(values for what, (_, values) in reasons if what not in beside)
    return float(left / max(record["weights"], 1))


def _percent(share: float) -> str:
    return "0%" if share == 0 else "<0.1%" if share < 0.001 else f"{100 * share:.1f}%"
