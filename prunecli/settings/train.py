"""The settings of `train` and `finetune`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prunecli.errors import BadUsage
from prunecli.settings.data import DataSettings
from prunecli.settings.kinds import File, Plain, PluginName, Real, Switch
from prunecli.settings.table import flag_said, group, option, some_of
from prunecli.settings.training import Hyperparameters, taken_over


@dataclass(frozen=True)
class ModelSettings:
    """The network, and how to fit a checkpoint's weights to it."""

    name: str | None = option(
        "Architecture; see 'prunecli list models'.", PluginName("models"), flag="--model",
        unset="the checkpoint's",
    )  # fmt: skip
    own_options: Mapping[str, Any] = option(
        "Option of the model; repeatable.", Plain.PAIRS, flag="--model-opt", sets="model"
    )
    thin: float | None = option(
        "Narrow the layers to this fraction of their weights: a dense equivalent of a pruned "
        "network.",
        Real(0, 1), metavar="PART", sets="model",
    )  # fmt: skip
    weights: str | None = option(
        "Start from published weights, such as IMAGENET1K_V1; for --model torchvision:NAME.",
        Plain.TEXT, metavar="NAME",
    )  # fmt: skip
    pretrained: bool = option("Short for --weights DEFAULT: torchvision's best.", Switch())
    strip_prefix: str | None = option(
        "Load only the tensors of CHECKPOINT whose names start with PREFIX, and drop it from the "
        "names.",
        Plain.TEXT, metavar="PREFIX", unset="a prefix before all of the network's names",
    )  # fmt: skip
    new_head: bool = option(
        "Initialise the last layer anew, for classes other than CHECKPOINT's.", Switch()
    )

    @property
    def options(self) -> dict[str, Any]:
        """All options of the model. Raises BadUsage if one is given twice."""
        if self.thin is None:
            return dict(self.own_options)
        if "thin" in self.own_options:
            raise BadUsage("thin is given twice: by --thin and by --model-opt")
        return {**self.own_options, "thin": self.thin}

    @property
    def published(self) -> str | None:
        """The published weights to start from, if any. Raises BadUsage if they are given twice."""
        if self.pretrained and self.weights is not None:
            raise BadUsage("--pretrained is short for --weights DEFAULT; leave one of them out")
        return "DEFAULT" if self.pretrained else self.weights

    @property
    def adapts(self) -> bool:
        """Whether options are given that fit the checkpoint's weights to the model."""
        return self.strip_prefix is not None or self.new_head


@dataclass(frozen=True)
class TrainingSettings:
    """The settings that `train` and `finetune` share."""

    checkpoint: Path | None = None
    rewind: Path | None = None
    model: ModelSettings = ModelSettings()
    data: DataSettings = group(DataSettings)
    mask: Path | None = option("Keep the weights that this mask removes at exactly zero.", File())
    pruner: str | None = option(
        "Prune while training; see 'prunecli list pruners'.", PluginName("pruners")
    )
    pruner_options: Mapping[str, Any] = option(
        "Option of the pruner; repeatable.", Plain.PAIRS, flag="--opt", sets="pruner"
    )
    exclude_classifier: bool = option("Do not prune the last linear layer.", Switch())
    ignore: tuple[str, ...] = option(
        "Do not prune weights whose full name matches (shell pattern); repeatable.",
        Plain.TEXTS, metavar="PATTERN",
    )  # fmt: skip
    given: Mapping[str, Any] = some_of(Hyperparameters, taken_over)
    """The hyperparameters that were given."""
    graphs: bool = option(
        "On a GPU, replay training steps as CUDA graphs, with the same result to the byte.",
        Switch(negates=True), True, flag="--cuda-graphs", decides=False,
    )  # fmt: skip
    eval_every_epoch: bool = option(
        "Evaluate on the test set after every epoch.", Switch(negates=True), True,
        flag="--eval-epochs",
    )  # fmt: skip
    save_every: float = option(
        "Seconds between saves of the training state. It is also saved after an epoch, unless "
        "saving takes more than a twentieth of the time.",
        Real(0, ends="[]"), 600, metavar="SECONDS", decides=False,
    )  # fmt: skip
    resume: bool = option(
        "Resume from the training state beside the output.", Switch(), decides=False, reserved=True
    )

    def check(self) -> None:
        """Raise BadUsage for options that exclude each other, whatever the files hold."""
        starts = self.checkpoint is not None or self.rewind is not None
        if self.mask and not starts:
            raise BadUsage("--mask needs the checkpoint that it was made for")
        if self.mask and self.pruner:
            raise BadUsage("--pruner makes its own mask; leave --mask out")
        idle = flag_said(self, "pruner_options", "ignore", "exclude_classifier")
        if idle and self.pruner is None:
            raise BadUsage(f"{idle} needs --pruner")
        if self.model.name is None and not starts:
            raise BadUsage("no model is given; choose one with --model")
        _ = self.model.options

    @property
    def splits(self) -> list[str]:
        """The splits of the data set that are read."""
        return ["train", "test"] if self.eval_every_epoch else ["train"]


@dataclass(frozen=True)
class TrainSettings(TrainingSettings):
    """The settings of `train`."""

    model: ModelSettings = group(ModelSettings)


@dataclass(frozen=True)
class FinetuneSettings(TrainingSettings):
    """The settings of `finetune`."""

    rewind: Path | None = option(
        "Start from the weights of this checkpoint.", File(), metavar="CHECKPOINT"
    )
