"""Networks and data sets by their names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import nn

from prunecli.api.given import file_of_module, named
from prunecli.errors import BadUsage
from prunecli.files.parsing import parsed
from prunecli.files.records import ModelRecord
from prunecli.images.source import Source
from prunecli.network.build import build_model, check_described
from prunecli.plugins.resolve import resolve
from prunecli.runtime.seeds import derive_seed
from prunecli.settings.data import DataSettings
from prunecli.types import Images

SPLITS = ("train", "test")


@dataclass(frozen=True)
class Network:
    """A network by its name: one from `prunecli list models`, or `mypkg.mod:function`.

    `input_shape` is [channels, height, width] of an image. Raises BadUsage for an unknown name or
    option, and for an impossible shape or number of classes.

    >>> network = prunecli.Network("cnn", (1, 28, 28), 10, {"thin": 0.5})
    >>> sum(parameter.numel() for parameter in network.build(seed=1).parameters())
    214222
    """

    name: str
    input_shape: tuple[int, int, int]
    classes: int
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _ = self.record

    @property
    def record(self) -> ModelRecord:
        """The description of the network in a checkpoint's metadata."""
        plugin = resolve("models", named(self.name), self.options, by_file=False)
        said = {
            "name": self.name,
            "options": plugin.options,
            "input_shape": [*self.input_shape],
            "classes": self.classes,
        }
        try:
            return parsed(ModelRecord, said)
        except ValueError as error:
            raise BadUsage(f"there is no network {self.name!r}: {error}") from None

    def build(self, seed: int = 0) -> nn.Module:
        """The network as `prunecli train` initialises it with this seed, on the CPU.

        The global random state does not change. Raises Mismatch for images that do not fit it.
        """
        with torch.random.fork_rng([]):
            torch.manual_seed(derive_seed(seed, "init"))
            return build_model(self.record, by_file=False)

    def check(self, model: nn.Module) -> None:
        """Raise Mismatch unless a module's tensors are those of this network."""
        check_described(self.record, file_of_module(model, {}))


def load_images(
    name: str,
    split: str = "train",
    *,
    options: Mapping[str, Any] | None = None,
    data_dir: str | PathLike[str] = "data",
    download: bool = False,
) -> Images:
    """The images of a data set's split, `train` or `test`, checked; see `prunecli list datasets`.

    `images.images` is uint8 [number, height, width, channels], `images.labels` int64. Raises
    BadUsage for an unknown name, option or split, BadEnvironment if the data are missing, and
    Mismatch if a data set of your own returns something else.

    >>> images = prunecli.load_images("digits", "test")
    >>> images.images.shape, images.input_shape, len(images.classes)
    (torch.Size([355, 28, 28, 1]), (1, 28, 28), 10)
    """
    if split not in SPLITS:
        raise BadUsage(f"there is no split {split!r}; there are {', '.join(SPLITS)}")
    data = DataSettings(named(name), options or {}, Path(data_dir), download)
    return Source.of(data, None).load(split)
