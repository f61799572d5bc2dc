"""Conversion to and from `torch.nn.utils.prune`, which keeps a weight X as X_orig and X_mask."""

from __future__ import annotations

from torch import nn
from torch.nn.utils import prune

from prunecli.api.artifacts import Mask
from prunecli.api.given import M, mask_of
from prunecli.api.pruning import GivenMask, fitted
from prunecli.errors import Mismatch


def from_torch_prune(model: nn.Module) -> Mask:
    """The mask that `torch.nn.utils.prune` has put on a module, which does not change.

    Weights that it has not pruned are not covered. Raises Mismatch if it has pruned none, or if one
    of its masks holds values other than 0 and 1.

    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3))
    >>> _ = torch.nn.utils.prune.l1_unstructured(model[0], "weight", amount=0.5)
    >>> mask = prunecli.from_torch_prune(model)
    >>> list(mask), mask.kept
    (['0.weight'], 6)
    """
    own = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    bits = {}
    for name, values in model.named_buffers():
        whole = name.removesuffix("_mask")
        if whole == name or f"{whole}_orig" not in own:
            continue
        bits[whole] = values.detach().cpu() != 0
        if not bool((values.cpu() == bits[whole]).all()):
            raise Mismatch(f"{name!r} holds values other than 0 and 1; it is not a mask")
    if not bits:
        raise Mismatch("torch.nn.utils.prune has not pruned this module")
    return mask_of(bits)


def to_torch_prune(model: M, mask: GivenMask) -> M:
    """Put a mask on a module with `torch.nn.utils.prune.custom_from_mask`; returns the module.

    X is then computed from X_orig and X_mask before every forward pass; `prune.remove` makes it
    permanent. A weight that several modules share is pruned in each. Raises Mismatch if the mask
    does not fit, for example because a weight is already pruned this way.

    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3))
    >>> mask = prunecli.mask(model, "magnitude", density=0.25)
    >>> pruned = prunecli.to_torch_prune(model, mask)
    >>> pruned is model, int(model[0].weight.count_nonzero()), model[0].weight_mask.dtype
    (True, 3, torch.float32)
    """
    weights, kept = fitted(model, mask)
    covered = {id(weight): kept[name] for name, weight in weights.items()}
    for name, weight in list(model.named_parameters(remove_duplicate=False)):
        if id(weight) in covered:
            owner, _, own = name.rpartition(".")
            bits = covered[id(weight)].to(weight.dtype)
            prune.custom_from_mask(model.get_submodule(owner), own, bits)  # type: ignore[no-untyped-call]
    return model
