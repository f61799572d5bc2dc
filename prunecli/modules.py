"""What is to be heeded with other people's modules, which may be and do anything."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from prunecli.errors import Mismatch, PruneError, some
from prunecli.shortage import raise_shortage


def cause(error: BaseException) -> str:
    """'RuntimeError: what it says', in one line."""
    return f"{type(error).__name__}: {error}".partition("\n")[0]


@contextmanager
def theirs(failing: str) -> Iterator[None]:
    """Raise Mismatch, `failing` and the cause, for whatever other people's code raises within."""
    try:
        yield
    except PruneError:
        raise
    except Exception as error:
        raise_shortage(error)
        raise Mismatch(f"{failing} ({cause(error)}); PRUNECLI_DEBUG=1 shows where") from error


def scores_of(given: object) -> Tensor:
    """What a network gives. Raises Mismatch if it is no tensor: a tuple, or transformers' own."""
    if not isinstance(given, Tensor):
        raise Mismatch(
            f"the network gives {type(given).__name__}, not a tensor of scores [images, classes]; "
            "have its forward return that alone"
        )
    return given


def fill(model: nn.Module, tensors: Mapping[str, Tensor], *, strict: bool = True) -> None:
    """Load a state_dict whose tensors have the names and shapes of the network's own.

    Which version of a module wrote them, no file of tensors says. Of this form they are the present
    one's, and a module that looks at the version is told so. Raises what the modules raise.
    """
    state = OrderedDict(tensors)
    state._metadata = getattr(model.state_dict(), "_metadata", None)  # type: ignore[attr-defined]
    model.load_state_dict(state, strict=strict)


def check_storable(model: nn.Module, label: str) -> None:
    """Raise Mismatch for a network of which not all can be written, or seen."""
    odd = [name for name, value in model.state_dict().items() if not isinstance(value, Tensor)]
    if odd:
        raise Mismatch(
            f"{label}: {some(odd)} of its state is no tensor, and safetensors holds nothing else; "
            "have get_extra_state return one"
        )


def is_unfinished(model: nn.Module) -> bool:
    """Whether it has parameters whose shapes only a first batch tells: LazyLinear and the like."""
    return any(is_lazy(tensor) for tensor in chain(model.parameters(), model.buffers()))


def is_scripted(model: nn.Module) -> bool:
    """Whether torch.jit has taken it, and with it the modules of which a network is made."""
    return any(isinstance(module, torch.jit.ScriptModule) for module in model.modules())
