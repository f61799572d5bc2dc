"""The prunable weights of a file, and the selection of some by name."""

from __future__ import annotations

from collections import Counter
from fnmatch import fnmatchcase

from prunecli.errors import BadInput, BadUsage, Mismatch
from prunecli.files.artifacts import kind_of
from prunecli.files.header import FLOATS
from prunecli.files.records import CheckpointRecord, Described
from prunecli.files.roles import SMALL_FLOATS, roles_of
from prunecli.files.tensors import TensorFile

PRUNED_MODULES = "Conv, Linear, MultiheadAttention or an RNN"


def prunable_names(file: TensorFile) -> list[str]:
    """The prunable weights of a checkpoint, without building its model; of scores, all.

    prunecli's own checkpoints list them. Of any other file `roles` tells.
    """
    if kind_of(file) == "scores":
        return [name for name in file if file.entry(name).numel]
    if file.record is not None:
        listed = file.says(CheckpointRecord).prunable
        sizes = [file.entry(n).numel if n in file else 0 for n in listed or ()]
        if listed is None or not all(sizes) or len(set(listed)) < len(listed):
            raise BadInput(f"{file.label}: its list of prunable weights is damaged")
        return list(listed)
    return [name for name, role in roles_of(file).items() if role.pruned and file.entry(name).numel]


def parameter_count(checkpoint: TensorFile) -> int:
    """The number of trainable parameters, as recorded in prunecli's own checkpoints.

    In other files, it counts floating-point tensors except the statistics of normalisations.
    """
    told = checkpoint.says(CheckpointRecord).parameters
    return told or sum(
        checkpoint.entry(name).numel
        for name in checkpoint
        if checkpoint.entry(name).dtype in FLOATS
        and name.rpartition(".")[2] not in ("running_mean", "running_var")
    )


def chosen(
    file: TensorFile,
    targets: tuple[str, ...] = (),
    ignore: tuple[str, ...] = (),
    exclude_classifier: bool = False,
) -> list[str]:
    """The weights that match a `targets` pattern and no `ignore` pattern (fnmatch on whole names).

    Without targets they are the prunable ones. With targets, in a file that is not prunecli's, any
    floating-point tensor of two or more dimensions may be meant. Raises BadUsage for a pattern
    that matches nothing, which is probably a mistake.
    """
    names = prunable_names(file)
    if targets:
        foreign = file.record is None
        names = _matching(matrices(file) if foreign else names, targets, file.label)
    if not names:
        most = Counter(role.what for role in roles_of(file).values()).most_common(3)
        what = ", ".join(f"{count:,} {what}" for what, count in most) or "no tensor"
        raise Mismatch(f"{file.label}: it has no weight to prune, but {what}; see --targets")
    last = file.says(Described).classifier
    return left_in(names, last, file.label, ignore, exclude_classifier)


def matrices(file: TensorFile) -> list[str]:
    """The floating-point tensors of two or more dimensions."""
    return [
        name
        for name in file
        if len(file.entry(name).shape) >= 2
        and file.entry(name).numel
        and file.entry(name).dtype in (*FLOATS, *SMALL_FLOATS)
    ]


def _matching(names: list[str], patterns: tuple[str, ...], label: str) -> list[str]:
    """The names that match any pattern. Raises BadUsage for a pattern that matches none."""
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise BadUsage(f"{label}: no prunable weight matches {pattern!r}")
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


def left_in(
    names: list[str],
    last: str | None,
    label: str,
    ignore: tuple[str, ...] = (),
    exclude_classifier: bool = False,
) -> list[str]:
    """The `names` less those that match a pattern, and less the classifier's. See `chosen`.

    `last` is the classifier's weight.
    """
    if exclude_classifier and last is None:
        raise BadUsage(f"{label}: its classifier is not known; exclude it with --ignore PATTERN")
    out = {*_matching(names, ignore, label), *([last] if exclude_classifier else [])}
    left = [name for name in names if name not in out]
    if not left:
        raise Mismatch(f"{label}: it has no weight to prune")
    return left
