"""Checks that tensors fit a network, by name, shape and kind of number, and loads them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import TypeAlias

import torch
from torch import Tensor, nn

from prunecli.errors import Mismatch, NotFinite, some
from prunecli.files.artifacts import read_state_dict
from prunecli.files.header import FLOATS, INTEGERS
from prunecli.files.tensors import DTYPES, Form, TensorFile
from prunecli.network.layers import prunable
from prunecli.network.modules import check_storable, fill, theirs
from prunecli.tensors.finite import all_finite

Forms: TypeAlias = Mapping[str, Form]
WANTED = f"floats of two bytes or more ({', '.join(FLOATS)})"


def read_weights(checkpoint: TensorFile) -> dict[str, Tensor]:
    """All tensors of a checkpoint. Raises Mismatch for types that torch lacks."""
    for name, form in checkpoint.forms.items():
        if form.dtype not in DTYPES:
            raise Mismatch(
                f"{checkpoint.label}: {name!r} is {form.dtype}; weights must be {WANTED}"
            )
    return read_state_dict(checkpoint)


def forms_of(tensors: Mapping[str, Tensor]) -> dict[str, Form]:
    return {name: Form.of(tensor) for name, tensor in tensors.items()}


def load_weights(model: nn.Module, tensors: Mapping[str, Tensor], label: str) -> None:
    """Load a state_dict. Raises Mismatch as `check_weights` does, or NotFinite.

    A tensor with several names in the network is needed under one of them only.
    """
    check_weights(model, forms_of(tensors), label)
    found = dict(tensors)
    for group in _shared(model):
        first, *others = [name for name in group if name in found]
        if odd := [name for name in others if not torch.equal(found[name], found[first])]:
            what = f"{first!r} and {odd[0]!r} differ, but the network has one tensor for both"
            raise Mismatch(f"{label}: {what}")
        found |= dict.fromkeys(group, found[first])
    _check_range(model, found, label)
    with theirs(f"{label}: the network does not take its tensors"):
        fill(model, found)


def check_weights(model: nn.Module, given: Forms, label: str) -> None:
    """Raise Mismatch unless these are the network's tensors, by name, shape and kind of number."""
    check_names(model, given, label)
    if odd := _other_kinds(model, given):
        more = f" (as well as {some(odd[1:])})" if odd[1:] else ""
        raise Mismatch(f"{label}: {odd[0]!r} is {_misfit(model, given, odd[0])}{more}")


def check_names(model: nn.Module, given: Forms, label: str) -> None:
    """Raise Mismatch unless these are the network's tensors, by name and shape."""
    check_storable(model, label)
    own = {name: tuple(t.shape) for name, t in model.state_dict().items()}
    there = {n for group in _shared(model) if any(n in given for n in group) for n in group}
    faults = []
    if missing := [name for name in own if name not in given and name not in there]:
        faults.append(f"missing {some(missing)}")
    if extra := [name for name in given if name not in own]:
        faults.append(f"unexpected {some(extra)}")
    for name in [n for n in own if n in given and own[n] != given[n].shape][:3]:
        faults.append(f"{name!r} is {list(given[name].shape)}, not {list(own[name])}")
    if faults:
        raise Mismatch(f"{label}: its tensors do not match the network: {' and '.join(faults)}")


def _check_range(model: nn.Module, tensors: Mapping[str, Tensor], label: str) -> None:
    """Raise NotFinite for finite values that overflow the network's narrower floats."""
    for name, own in model.state_dict().items():
        given, kind = tensors[name], str(own.dtype).rpartition(".")[2]
        narrower = given.dtype != own.dtype and own.is_floating_point()
        if narrower and not all_finite(given.to(own.dtype)) and all_finite(given):
            raise NotFinite(f"{label}: {name!r} holds values beyond the range of {kind}")


def _shared(model: nn.Module) -> list[list[str]]:
    """Groups of names that share a tensor, found by identity: on meta there are no addresses."""
    names: dict[int, list[str]] = {}
    own = model.state_dict()
    parameters = model.named_parameters(remove_duplicate=False)
    for name, tensor in chain(parameters, model.named_buffers(remove_duplicate=False)):
        if name in own:
            names.setdefault(id(tensor), []).append(name)
    return [group for group in names.values() if len(group) > 1]


def _other_kinds(model: nn.Module, given: Forms) -> list[str]:
    """The tensors of another kind of number than the network's, such as integers for floats.

    Torch would convert any of them, even quantised values without their scale.
    """
    own = {name: t.dtype for name, t in model.state_dict().items() if name in given}
    return [name for name, dtype in own.items() if not _goes_for(given[name].dtype, dtype)]


def _goes_for(code: str, own: torch.dtype) -> bool:
    """Whether a safetensors type is of the same kind of number as a network's dtype."""
    if own.is_floating_point and code in FLOATS:
        return True
    whole = not own.is_floating_point and not own.is_complex
    return (whole and code in INTEGERS) or DTYPES.get(code) == own


def _misfit(model: nn.Module, given: Forms, name: str) -> str:
    wanted = WANTED if model.state_dict()[name].is_floating_point() else "whole numbers"
    kind = "weights" if name in prunable(model) else "its values"
    return f"{given[name].dtype}; {kind} must be {wanted}"
