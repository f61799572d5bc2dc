"""What may be masked, what a mask does, and what it leaves over."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from prunecli.errors import BadInput, BadUsage, Mismatch
from prunecli.files.artifacts import kind_of
from prunecli.files.header import FLOATS
from prunecli.files.tensors import TensorFile
from prunecli.parts import Parted, parted
from prunecli.roles import SMALL_FLOATS, roles_of
from prunecli.types import Mask, Params
from prunecli.zeros import zero_

MATRICES: dict[type[nn.Module] | tuple[type[nn.Module], ...], re.Pattern[str]] = {
    (nn.modules.conv._ConvNd, nn.Linear): re.compile("weight"),
    nn.MultiheadAttention: re.compile("(in|[qkv])_proj_weight"),
    (nn.RNNBase, nn.RNNCellBase): re.compile(r"weight_(ih|hh|hr)(_l\d+(_reverse)?)?"),
}
"""What the parameters are called, of which modules, that may be pruned."""
PRUNED_MODULES = "Conv, Linear, MultiheadAttention or an RNN"


def prunable(model: nn.Module) -> Params:
    """The weights that may be pruned: those of `PRUNED_MODULES`, in module order.

    No biases, no normalisation. A weight that several modules share appears once, under its first
    name.
    """
    return {name: weight for name, weight in model.named_parameters() if _multiplies(model, name)}


def _multiplies(model: nn.Module, name: str) -> bool:
    """Whether a parameter is a matrix or kernel of a module that is known."""
    place, _, own = name.rpartition(".")
    module = model.get_submodule(place)
    return any(
        isinstance(module, kinds) and names.fullmatch(own) for kinds, names in MATRICES.items()
    )


def is_transposed(model: nn.Module, name: str) -> bool:
    """Whether a weight is one of those that are [inputs, outputs]: of a transposed convolution."""
    module = model.get_submodule(name.rpartition(".")[0])
    return isinstance(module, nn.modules.conv._ConvTransposeNd)


def classifier(model: nn.Module) -> str | None:
    """The name of the last linear layer's weight, the one that gives the class scores.

    If other layers share that weight, it is the name that `prunable` has for it.
    """
    linear = [module.weight for module in model.modules() if isinstance(module, nn.Linear)]
    names: dict[Tensor, str] = {weight: name for name, weight in model.named_parameters()}
    return names.get(linear[-1]) if linear else None


def prunable_names(file: TensorFile) -> list[str]:
    """The prunable weights of a checkpoint, without building its model; of scores, all.

    prunecli's own checkpoints list them. Of any other file `roles` tells.
    """
    if kind_of(file) == "scores":
        return [name for name in file if file.entry(name).numel]
    if file.meta is not None:
        listed = file.meta.get("prunable")
        sizes = [file.entry(n).numel if n in file else 0 for n in listed or ()]
        if not isinstance(listed, list) or not all(sizes) or len(set(listed)) < len(listed):
            raise BadInput(f"{file.label}: its list of prunable weights is damaged")
        return listed
    return [name for name, role in roles_of(file).items() if role.pruned and file.entry(name).numel]


def parameter_count(checkpoint: TensorFile) -> int:
    """All that training moves, as prunecli's own checkpoints say.

    In any other file it is the floating-point tensors but the statistics of normalisations.
    """
    told = (checkpoint.meta or {}).get("parameters")
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
    that matches nothing: a slip that would go unseen.
    """
    names = prunable_names(file)
    if targets:
        foreign = file.meta is None
        names = _matching(matrices(file) if foreign else names, targets, file.label)
    if not names:
        most = Counter(role.what for role in roles_of(file).values()).most_common(3)
        what = ", ".join(f"{count:,} {what}" for what, count in most) or "no tensor"
        raise Mismatch(f"{file.label}: it has no weight to prune, but {what}; see --targets")
    last = (file.meta or {}).get("classifier")
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
    """Those that match any pattern. Raises BadUsage for a pattern that matches none."""
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
    """`names` less those that match a pattern, and less the classifier's, `last`. See `chosen`."""
    if exclude_classifier and last is None:
        raise BadUsage(
            f"{label}: it does not say which weight is the classifier; "
            "name it with --ignore PATTERN"
        )
    out = {*_matching(names, ignore, label), *([last] if exclude_classifier else [])}
    left = [name for name in names if name not in out]
    if not left:
        raise Mismatch(f"{label}: it has no weight to prune")
    return left


@torch.no_grad()
def apply_(params: Mapping[str, Tensor], mask: Mask) -> None:
    """Set what the mask excludes to exactly +0.0, in place."""
    for name, kept in mask.items():
        zero_(params[name], kept)


def aligned(mask: Mask, params: Mapping[str, Tensor]) -> Mask:
    """The mask on the weights' device and in their memory format, so that applying it is fast."""
    return {
        name: torch.empty_like(params[name], dtype=torch.bool).copy_(kept)
        for name, kept in mask.items()
    }


def kept_counts(mask: Parted | Mask) -> dict[str, int]:
    bits = parted(mask)
    return {
        name: sum(int(part.count_nonzero()) for part in bits.parts(name)) for name in bits.shapes
    }


def all_finite(tensor: Tensor) -> bool:
    """Whether there is no NaN and no infinity: the sum, which is quicker to see, would be one."""
    if not tensor.is_floating_point():
        return True
    if tensor.element_size() == 1:  # torch adds up no float8
        tensor = tensor.float()
    return math.isfinite(float(tensor.sum())) or bool(torch.isfinite(tensor).all())


def density(mask: Parted | Mask) -> float:
    """The fraction of weights kept, over all that the mask covers."""
    return sum(kept_counts(mask).values()) / sum(map(math.prod, parted(mask).shapes.values()))


def dead_layers(mask: Mask) -> list[str]:
    """The layers without any weight left: nothing gets through them (layer-collapse)."""
    return [name for name, kept in mask.items() if not kept.any()]


def exact_count(fraction: float, total: int) -> int:
    """round(fraction * total), halves to even; the number of weights that a density keeps."""
    return min(total, max(0, round(fraction * total)))
