"""What a mask does not prune: how much, and why."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import replace

from torch import Tensor, nn

from prunecli.files.records import LeftWhole, ScoresRecord
from prunecli.files.roles import LAYER, STATISTIC, UNLISTED, VECTOR, Role, roles, roles_of
from prunecli.files.tensors import Form, TensorFile
from prunecli.network.layers import prunable
from prunecli.runtime.progress import Progress

ASKED = "left out as asked"
LARGE = 0.1
"""The share of weights not pruned that gives a warning."""


def of_file(file: TensorFile, names: Collection[str]) -> LeftWhole:
    """The tensors of a checkpoint that are not pruned if `names` are masked."""
    return _left(file.forms, roles_of(file), names)


def of_model(model: nn.Module, names: Collection[str]) -> LeftWhole:
    """The same for the checkpoint that a network would be written as; see `of_file`."""
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
    return _left(forms, found, names)


def of_scores(file: TensorFile, names: Collection[str]) -> LeftWhole | None:
    """What the scores' metadata says was not pruned, plus the scores not in `names`."""
    whole = file.says(ScoresRecord).left_whole
    left = [name for name in file if name not in names]
    if whole is None or not left:
        return whole
    tensors, values = whole.reasons.get(ASKED, (0, 0))
    values += sum(file.entry(name).numel for name in left)
    reasons = {**whole.reasons, ASKED: (tensors + len(left), values)}
    return replace(whole, tensors=whole.tensors + len(left), reasons=reasons)


def _left(
    forms: Mapping[str, Form], found: Mapping[str, Role], names: Collection[str]
) -> LeftWhole:
    reasons: dict[str, tuple[int, int]] = {}
    tensors = weights = 0
    beside = set()
    masked = set(names)
    for name, role in found.items():
        size = math.prod(forms[name].shape)
        weights += size if role.counts else 0
        if name in masked:
            continue
        what = ASKED if role.pruned else role.what
        count, values = reasons.get(what, (0, 0))
        reasons[what] = (count + 1, values + size)
        tensors += role.counts
        beside |= set() if role.counts else {what}
    return LeftWhole(
        tensors=tensors, weights=weights, reasons=reasons, beside=tuple(sorted(beside))
    )


def line(whole: LeftWhole) -> str:
    """A line about everything that is not pruned, the largest part first."""
    weights = max(whole.weights, 1)
    most = sorted(whole.reasons.items(), key=lambda reason: (-reason[1][1], reason[0]))
    parts = [
        f"{count:,} {what} ({_percent(values / weights)})"
        for what, (count, values) in most
        if what not in whole.beside
    ]
    count = f"{whole.tensors:,} tensor{'s' * (whole.tensors != 1)}"
    text = f"not pruned: {count}, {_percent(_share(whole))} of the weights"
    text += f": {', '.join(parts)}" if parts else ""
    beside = [f"{count:,} {what}" for what, (count, _) in most if what in whole.beside]
    return f"{text}; and other tensors: {', '.join(beside)}" if beside else text


def tell(whole: LeftWhole, progress: Progress) -> None:
    """Report it: as a warning if much is unpruned unasked, as a detail if only vectors are."""
    unasked = {what: count for what, count in whole.reasons.items() if what != ASKED}
    if _share(replace(whole, reasons=unasked)) > LARGE:
        progress.warn(line(whole))
    elif whole.reasons.keys() <= {VECTOR.what, STATISTIC.what}:  # as in all networks
        progress.detail(line(whole))
    else:
        progress.say(line(whole))


def _share(whole: LeftWhole) -> float:
    """The share of the weights that is not pruned."""
    reasons = whole.reasons.items()
    left = sum(values for what, (_, values) in reasons if what not in whole.beside)
    return left / max(whole.weights, 1)


def _percent(share: float) -> str:
    return "0%" if share == 0 else "<0.1%" if share < 0.001 else f"{100 * share:.1f}%"
