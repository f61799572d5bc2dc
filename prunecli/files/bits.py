"""Masks as bits: eight weights to a byte, the first in the lowest bit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import SpooledTemporaryFile

import numpy as np
import torch
from torch import Tensor

from prunecli.tensors.parts import PART, Parted, one_thread

IN_MEMORY = 1 << 26


def packed(parts: Iterable[Tensor]) -> Iterator[Tensor]:
    """The bytes of truth values, a bit each; every part but the last must fill its own."""
    for kept in parts:
        yield torch.from_numpy(np.packbits(kept.contiguous().numpy(), bitorder="little"))


def unpacked(parts: Iterable[Tensor], count: int) -> Iterator[Tensor]:
    """The `count` truth values of the bytes. Raises ValueError if bits beyond them are set."""
    for part in parts:
        bits = np.unpackbits(part.numpy(), bitorder="little")
        if bits[count:].any():
            raise ValueError("has padding bits set")
        yield torch.from_numpy(bits[:count].view(bool))
        count -= min(count, len(bits))


class Packed:
    """A mask made once, to be read often; see `parts.Parted`.

    Bits beyond 64 MiB go to a file without a name in `folder`, which ends with the process.
    """

    @one_thread()
    def __init__(self, mask: Parted, folder: Path) -> None:
        self.shapes = dict(mask.shapes)
        self.kept: dict[str, int] = {}
        self.start: dict[str, int] = {}
        self.file = SpooledTemporaryFile(IN_MEMORY, dir=str(folder))  # noqa: SIM115
        for name in self.shapes:
            self.start[name], self.kept[name] = self.file.tell(), 0
            for part in packed(self._counted(name, mask.parts(name))):
                self.file.write(part.numpy().data)

    def _counted(self, name: str, parts: Iterable[Tensor]) -> Iterator[Tensor]:
        for part in parts:
            self.kept[name] += int(np.count_nonzero(part.numpy()))
            yield part

    def parts(self, name: str, size: int = PART) -> Iterator[Tensor]:
        count = math.prod(self.shapes[name])
        return unpacked(self.bytes(name, size // 8), count)

    def bytes(self, name: str, size: int = PART // 8) -> Iterator[Tensor]:
        """The bits as they stand in a file."""
        start, count = self.start[name], -(-math.prod(self.shapes[name]) // 8)
        for done in range(0, max(count, 1), size):
            self.file.seek(start + done)
            part = bytearray(self.file.read(min(size, count - done)))
            yield torch.frombuffer(part, dtype=torch.uint8) if part else torch.empty(0).byte()
