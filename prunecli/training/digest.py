"""The hash of a training state, which detects a flipped bit on the disk."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from prunecli.runtime.facts import canonical

COVERED = ("facts", "training")


def digest_of(tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> str:
    """SHA-256 over the metadata, and the name, type, shape and bytes of every tensor."""
    digest = hashlib.sha256(canonical([meta[key] for key in COVERED]).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(canonical([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def check_digest(tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Raise ValueError unless a state is what it was when `digest_of` was noted in it."""
    if meta["digest"] != digest_of(tensors, meta):
        raise ValueError("its digest does not match")
