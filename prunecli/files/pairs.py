"""Weights that torch.nn.utils.prune stores as two tensors: X as X_orig and X_mask."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from torch import Tensor

from prunecli.errors import BadInput
from prunecli.files.header import FLOATS, Entry
from prunecli.tensors.zeros import zero_

MASKS = (*FLOATS, "BOOL", "U8")


def pairs(entries: Mapping[str, Entry]) -> dict[str, tuple[str, str]]:
    """The names of weights kept as X_orig and X_mask, and for each those of its two tensors.

    A spectral norm's `weight_orig` has no mask beside it and is none.
    """
    found = {}
    for name, entry in entries.items():
        whole = name.removesuffix("_orig")
        mask = entries.get(f"{whole}_mask")
        named = whole != name and whole not in entries and whole.rpartition(".")[2]
        alike = mask and mask.shape == entry.shape and mask.dtype in MASKS
        if named and alike and entry.dtype in FLOATS:
            found[whole] = (name, f"{whole}_mask")
    return found


def masked(weights: Iterable[Tensor], masks: Iterable[Tensor], label: str) -> Iterator[Tensor]:
    """Parts of a weight, +0.0 where its mask is 0. Raises BadInput for a mask of other values."""
    for weight, mask in zip(weights, masks, strict=True):
        kept = mask != 0
        if not bool((mask == kept).all()):
            raise BadInput(f"{label} holds values other than 0 and 1; it is not a mask")
        yield zero_(weight, kept)
