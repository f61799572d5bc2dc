"""Checks of other people's modules, which can do anything."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from prunecli.errors import Mismatch, PruneError, some
from prunecli.runtime.shortage import raise_shortage


def cause(error: BaseException) -> str:
    """The error in one line: 'RuntimeError: its message'."""
    return f"{type(error).__name__}: {error}".partition("\n")[0]


@contextmanager
def theirs(failing: str, kind: type[PruneError] = Mismatch) -> Iterator[None]:
    """Raise `kind`, with `failing` and the cause, for any error of others' code within."""
    try:
        yield
    except PruneError:
        raise
    except Exception as error:
        raise_shortage(error)
        raise kind(f"{failing} ({cause(error)}); PRUNECLI_DEBUG=1 shows where") from error


def scores_of(given: object) -> Tensor:
    """A network's output. Raises Mismatch for anything but a tensor, such as a tuple."""
    if not isinstance(given, Tensor):
        raise Mismatch(
            f"the network gives {type(given).__name__}, not a tensor of scores [images, classes]; "
            "have its forward return that alone"
        )
    return given


def fill(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Load a state_dict whose tensors have the names and shapes of the network's own.

    A file of tensors does not say which version of a module wrote them. They are taken for the
    current version, which modules that check it are told. Raises what the modules raise.
    """
    state = OrderedDict(tensors)
    state._metadata = getattr(model.state_dict(), "_metadata", None)  # type: ignore[attr-defined]
    model.load_state_dict(state)


def check_storable(model: nn.Module, label: str) -> None:
    """Raise Mismatch if the network's state_dict holds anything but tensors."""
    odd = [name for name, value in model.state_dict().items() if not isinstance(value, Tensor)]
    if odd:
        raise Mismatch(
            f"{label}: {some(odd)} of its state is not a tensor, and safetensors stores nothing "
            "else; return one from get_extra_state"
        )


def check_sound(model: nn.Module, label: str) -> None:
    """Raise Mismatch, naming the cause, for a network whose tensors cannot be trained.

    All tensors must be dense and have values. Parameters must be real and not empty, have the same
    names in the `state_dict`, and dense gradients.
    """
    state = model.state_dict()
    named = dict(model.named_parameters())
    for name, tensor in {**named, **dict(model.named_buffers())}.items():
        if is_lazy(tensor) or tensor.is_meta:
            raise Mismatch(f"{label}: {name!r} has no values yet; build the network with values")
        if tensor.layout is not torch.strided or tensor.is_nested:
            raise Mismatch(f"{label}: {name!r} is {tensor.layout}; tensors must be dense")
    if odd := [name for name, tensor in named.items() if tensor.is_complex()]:
        raise Mismatch(f"{label}: {some(odd)} hold complex numbers; weights must be real")
    if odd := [name for name, tensor in named.items() if not tensor.numel()]:
        raise Mismatch(f"{label}: {some(odd)} are empty; leave such layers out")
    if odd := [name for name in named if name not in state]:
        raise Mismatch(
            f"{label}: its state_dict renames {some(odd)}; keep the names of the parameters"
        )
    if odd := [name for name, each in model.named_modules() if getattr(each, "sparse", 0) is True]:
        raise Mismatch(f"{label}: {some(odd)} give sparse gradients; build with sparse=False")


def is_unfinished(model: nn.Module) -> bool:
    """Whether it has parameters without shapes yet, such as those of LazyLinear."""
    return any(is_lazy(tensor) for tensor in chain(model.parameters(), model.buffers()))


def is_scripted(model: nn.Module) -> bool:
    """Whether torch.jit compiled any part of it, which hides its modules."""
    return any(isinstance(module, torch.jit.ScriptModule) for module in model.modules())
