"""A checkpoint and a method, ready to be scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any

from prunecli.errors import BadUsage
from prunecli.files.artifacts import PRUNED, kind_of
from prunecli.files.records import CheckpointRecord, Described, ScoresRecord
from prunecli.files.roles import layouts_of
from prunecli.files.tensors import TensorFile
from prunecli.images.batches import ScoringBatches
from prunecli.images.source import Source
from prunecli.masks.targets import chosen, parameter_count, prunable_names
from prunecli.network import coverage
from prunecli.network.build import load_model
from prunecli.plugins import registry
from prunecli.plugins.seeded import options_with_seed
from prunecli.runtime.device import pick_device, place, unrepeatable
from prunecli.runtime.versions import versions
from prunecli.scoring.by_network import check_scores, network_scores
from prunecli.scoring.by_weights import TensorScores
from prunecli.settings.common import Common
from prunecli.tensors.parts import Held, Parted, held
from prunecli.types import Mask, Scores


@dataclass(frozen=True)
class Scoring:
    """How weights are scored, wherever that happens, and which are left out."""

    method: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    source: Source = field(default_factory=Source)
    batch_size: int = 128
    targets: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    exclude_classifier: bool = False

    def names(self, file: TensorFile) -> list[str]:
        """The weights of a checkpoint, or of scores, that are meant; see `masks.chosen`."""
        return chosen(file, self.targets, self.ignore, self.exclude_classifier)

    @property
    def left_out(self) -> dict[str, Any]:
        """What was said of which weights are meant, for the metadata; empty if nothing was."""
        said = {
            "targets": list(self.targets),
            "ignore": list(self.ignore),
            "exclude_classifier": self.exclude_classifier,
        }
        return {name: value for name, value in said.items() if value}

    def checked(self) -> Scoring:
        """With the method's options of their own types. Raises BadUsage for unknown ones."""
        if self.method is None:
            raise BadUsage("how are the weights to be scored? say it with --method")
        options = registry.bind("scorers", self.method, self.options)
        return Scoring(**{**vars(self), "options": options})


def first_layer(file: TensorFile) -> str | None:
    """The first prunable weight of the network, pruned or not; None where the order is not known.

    Safetensors sort the names of a file, so only what prunecli made says it.
    """
    if kind_of(file) == "scores":
        return file.says(ScoresRecord).first
    return prunable_names(file)[0] if file.record else None


def file_word(method: str) -> str:
    """A method's name for use in a file's name, import paths included."""
    return method.replace(":", ".").replace("/", ".")


class Scored:
    """A checkpoint and a method, ready to be scored under one mask after another."""

    def __init__(self, file: TensorFile, scoring: Scoring, common: Common) -> None:
        self.file, self.scoring = file, scoring.checked()
        self.method = str(scoring.method)
        self.names = scoring.names(file)
        self.function = registry.find("scorers", self.method)
        self.seed = common.seed if common.seed is not None else file.says(Described).seed or 0
        self.device = pick_device(common.device)
        self.warn = cache(common.progress.warn)  # once, in however many rounds
        self.decides = registry.decides(self.function)
        """By itself what stays; see `types.decisive`."""
        self.needs_model = registry.takes_model(self.function)
        if self.needs_model:
            self.model = place(load_model(file), self.device).eval()
            own = file.says(CheckpointRecord)
            self.source = scoring.source.resolved(own)
            self.load = cache(lambda: self.source.load("train", own, common.progress))

    @property
    def is_known(self) -> bool:
        """Whether `record` tells all that scores depend on: not of a GPU nor of others' code."""
        return not self.needs_model and self.function.__module__.startswith("prunecli.")

    def record(self, mask: str | None = None) -> ScoresRecord:
        """What the scores say of how they came about, under the mask of that hash."""
        own = self.file.says(CheckpointRecord)
        return ScoresRecord(
            method=self.method,
            options=self.scoring.options,
            seed=self.seed,
            scoring=self._looked_at() if self.needs_model else None,
            left_out=self.scoring.left_out,
            parent=self.file.sha256,
            left_whole=coverage.of_file(self.file, self.names),
            layouts=layouts_of(self.file, self.names),
            parameters=parameter_count(self.file),
            classifier=own.classifier,
            model=own.model,
            versions=versions(),
            mask=mask,
            first=first_layer(self.file),
        )

    def _looked_at(self) -> dict[str, Any]:
        """The data that a network was scored by."""
        batch = {"batch_size": self.scoring.batch_size}
        return {"dataset": self.source.dataset, **batch, **self.source.options}

    def __call__(self, mask: Parted | None) -> Parted:
        """The scores of the weights that the mask leaves; those that it removed score -inf."""
        if not self.needs_model:
            return TensorScores(self.file, self.names, self.function, self._options, mask)
        kept = held(mask) if mask else {}
        scores = self._model_scores(kept)
        check_scores(scores, self.method, self.file.label)
        for name in scores.keys() & kept.keys():
            scores[name].masked_fill_(~kept[name], PRUNED)
        return Held(scores)

    def _options(self, *parts: object) -> dict[str, Any]:
        return options_with_seed(self.function, self.scoring.options, self.seed, *parts)

    def _model_scores(self, mask: Mask) -> Scores:
        own = self.file.says(CheckpointRecord).model
        assert own is not None, "its network is loaded"
        batches = ScoringBatches(
            own.input_shape,
            self.load,
            self.device,
            self.scoring.batch_size,
            self.seed,
        )
        scorer = partial(self.function, **self._options())
        with unrepeatable(self.warn):
            scores = network_scores(scorer, self.model, batches, mask, self.seed, self.file.label)
        return {name: scores[name] for name in self.names}


def record_of_scores(file: TensorFile, scoring: Scoring, names: list[str]) -> ScoresRecord:
    """What scores say of how they came about, where only these `names` of them are meant."""
    own = file.says(ScoresRecord)
    return replace(
        own,
        left_out={**(own.left_out or {}), **scoring.left_out},
        left_whole=coverage.of_scores(file, names),
        layouts=layouts_of(file, names),
        versions=versions(),
    )
