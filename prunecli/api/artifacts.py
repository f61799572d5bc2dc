"""Checkpoints, scores and masks as Python objects: mappings by name that know their lineage."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from prunecli.files.artifacts import MaskFile, ScoresFile, state_forms
from prunecli.files.tensors import TensorFile
from prunecli.masks.mask import kept_counts
from prunecli.masks.targets import prunable_names
from prunecli.network.build import load_model
from prunecli.tensors.parts import Parted, whole


class Artifact(Mapping[str, Tensor]):
    """Tensors by name, each read or computed on access, and their record."""

    _network: nn.Module | None = None
    """The module that a checkpoint was made from."""

    def __init__(self, file: TensorFile, tensors: Parted) -> None:
        self._file, self._tensors = file, tensors

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._tensors.shapes:
            raise KeyError(name)
        return whole(self._tensors, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors.shapes)

    def __len__(self) -> int:
        return len(self._tensors.shapes)

    def __contains__(self, name: object) -> bool:
        return name in self._tensors.shapes

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._file.label}: {len(self)} tensors>"

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each tensor, without reading any."""
        return dict(self._tensors.shapes)

    @property
    def record(self) -> Mapping[str, Any] | None:
        """The metadata of the file, written or not yet; None if prunecli did not write it."""
        return self._file.meta

    @property
    def sha256(self) -> str:
        """The hash of the file's bytes: those that were read, or that `write_*` will write."""
        return self._file.sha256


class Checkpoint(Artifact):
    """The tensors of a network: from a file, a module or plain tensors. `read_checkpoint` makes it.

    As a mapping it reads one tensor at a time, on each access, so it can be larger than memory.

    >>> model = prunecli.Network("cnn", (1, 28, 28), 10).build()
    >>> path = prunecli.write_checkpoint("cnn.safetensors", model)
    >>> checkpoint = prunecli.read_checkpoint(path)
    >>> checkpoint["conv1.weight"].shape
    torch.Size([20, 1, 5, 5])
    >>> checkpoint.prunable
    ['conv1.weight', 'conv2.weight', 'fc1.weight', 'fc2.weight']
    """

    def __init__(self, file: TensorFile, network: nn.Module | None = None) -> None:
        super().__init__(file, file)
        self._network = network

    def __getitem__(self, name: str) -> Tensor:
        return self._file[name]

    @property
    def prunable(self) -> list[str]:
        """The names of the prunable weights; in a file written by prunecli, in layer order."""
        return prunable_names(self._file)

    @property
    def names(self) -> list[str]:
        """The names of a state_dict, including further names of tied tensors."""
        return list(state_forms(self._file))

    def model(self) -> nn.Module:
        """The network with these weights: newly built, or the module that this was made from.

        Raises Mismatch if the file does not name its network, and BadUsage if it names other
        people's code, which is not imported because of a file.
        """
        return load_model(self._file) if self._network is None else self._network


class Scores(Artifact):
    """The importance of each weight: float32, the highest are kept; -inf means pruned before.

    >>> model = prunecli.Network("cnn", (1, 28, 28), 10).build()
    >>> scores = prunecli.score(model, "magnitude")
    >>> bool((scores["fc2.weight"] == model.fc2.weight.abs()).all())
    True
    """

    def __init__(self, file: TensorFile) -> None:
        super().__init__(file, ScoresFile(file))


class Mask(Artifact):
    """The kept weights: bool tensors in the shapes of the weights. A missing name is not pruned.

    >>> model = prunecli.Network("cnn", (1, 28, 28), 10).build()
    >>> mask = prunecli.mask(model, "magnitude", density=0.1)
    >>> mask.kept, mask.total, round(mask.density, 6)
    (43050, 430500, 0.1)
    >>> mask["fc2.weight"].dtype
    torch.bool
    """

    def __init__(self, bits: MaskFile) -> None:
        super().__init__(bits.file, bits)
        self._bits = bits

    @property
    def kept(self) -> int:
        """The number of kept weights among those that the mask covers."""
        return sum(kept_counts(self._bits).values())

    @property
    def total(self) -> int:
        """The number of weights that the mask covers."""
        return sum(map(math.prod, self.shapes.values()))

    @property
    def density(self) -> float:
        """The fraction kept, from 0 to 1; 1 for a mask that covers nothing."""
        return self.kept / self.total if self.total else 1.0
