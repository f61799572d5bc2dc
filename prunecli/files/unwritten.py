"""Files that are not written: tensors in memory, or made on demand, read as those of a file are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from prunecli.errors import BadInput
from prunecli.files.atomic import bytes_of, laid_out, size_of
from prunecli.files.header import header_to_be
from prunecli.files.tensors import CODES, DTYPES, TensorFile
from prunecli.tensors.parts import PART, Made


class Unwritten(TensorFile):
    """The file that tensors and metadata would be, with all that a `TensorFile` tells of one.

    Its `sha256` is that of the bytes which `atomic.write_tensors` would write. Tensors in memory
    are not copied until they are read, and must not change meanwhile. `sources` are paths that are
    read for it. Raises BadInput for what safetensors cannot hold.
    """

    def __init__(
        self,
        tensors: Mapping[str, Tensor | Made],
        metadata: Mapping[str, str],
        label: str,
        sources: Iterable[Path] = (),
    ) -> None:
        self.path, self.label, self.index, self.folder = Path(label), label, None, None
        self.made, self.sources = dict(tensors), list(sources)
        for name, tensor in self.made.items():
            _check_dense(name, tensor, label)
        self.head, self.order = laid_out(self.made, metadata)
        size = sum(map(size_of, self.made.values()))
        try:
            self._take({self.path: header_to_be(self.head, size)})
        except ValueError as error:
            raise BadInput(f"{label}: {error}") from None

    @property
    def paths(self) -> list[Path]:
        return self.sources

    def _parts(self, name: str, size: int) -> Iterator[Tensor]:
        made = self.made[name]
        if isinstance(made, Tensor):
            flat = made.detach().cpu().reshape(-1)
            return (part.clone() for part in torch.split(flat, size))
        if size == PART:
            return iter(made.parts())
        return iter(torch.split(torch.cat(list(made.parts())), size))

    def _hash(self) -> str:
        digest = hashlib.sha256()
        made = (bytes_of(self.made[name]) for name in self.order)
        digest.update(self.head)
        for chunk in chain.from_iterable(made):
            digest.update(chunk)
        return digest.hexdigest()


def taken(file: TensorFile, name: str, parts: Callable[[], Iterable[Tensor]] | None = None) -> Made:
    """A tensor of a file, to be written as it is, or with other values: those of `parts`."""
    entry, made = file.entry(name), parts or partial(file.parts, name)
    if entry.dtype in DTYPES:
        return Made(DTYPES[entry.dtype], entry.shape, made)
    return Made(torch.uint8, entry.shape, made, (entry.dtype, entry.end - entry.start))


def _check_dense(name: str, tensor: Tensor | Made, label: str) -> None:
    if not isinstance(tensor, Tensor | Made):
        raise BadInput(f"{label}: {name!r} is not a tensor but {type(tensor).__name__}")
    if isinstance(tensor, Made):
        return
    if tensor.is_meta or tensor.layout is not torch.strided or tensor.dtype not in CODES:
        raise BadInput(f"{label}: {name!r} is not a dense tensor with values of a common type")
