"""Named tensors that are read in chunks, so that they can be larger than memory.

Tensors in memory are read the same way, in parts that fit the processor's cache.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

PART = 1 << 18
"""Values in a part: 1 MiB of float32."""


@runtime_checkable
class Parted(Protocol):
    """Tensors that can be read repeatedly, one at a time and in chunks."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]: ...

    def parts(self, name: str, size: int = PART) -> Iterator[Tensor]:
        """The tensor's values in order, flat, `size` of them at a time. At least one part."""
        ...


class InMemory:
    """Tensors in memory."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = tensors

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(self.tensors[name].shape) for name in self.tensors}

    def parts(self, name: str, size: int = PART) -> Iterator[Tensor]:
        yield from torch.split(self.tensors[name].detach().cpu().reshape(-1), size)


@dataclass(frozen=True)
class Made:
    """A tensor that is computed in chunks while it is written."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    parts: Callable[[], Iterable[Tensor]]
    packed: tuple[str, int] | None = None
    """For a type that torch lacks: safetensors' name for it, and the size in bytes. The parts are
    then these bytes."""

    def numel(self) -> int:
        return math.prod(self.shape)


@contextmanager
def one_thread() -> Iterator[None]:
    """A context in which torch uses a single thread.

    Parts are too small to share: threads would mostly wait for each other, and for the one that
    hashes the file.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def parted(tensors: Parted | Mapping[str, Tensor]) -> Parted:
    return tensors if isinstance(tensors, Parted) else InMemory(tensors)


def whole(tensors: Parted, name: str) -> Tensor:
    """One tensor, all of it."""
    return torch.cat(list(tensors.parts(name))).reshape(tensors.shapes[name])


def in_memory(tensors: Parted) -> dict[str, Tensor]:
    """The tensors, all of them in memory."""
    return {name: whole(tensors, name) for name in tensors.shapes}
