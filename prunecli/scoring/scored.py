"""A checkpoint and a method, ready to be scored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from prunecli.errors import BadUsage
from prunecli.files.artifacts import PRUNED, MaskFile, kind_of, metadata, pruned_before
from prunecli.files.records import CheckpointRecord, Described, ScoresRecord
from prunecli.files.roles import layouts_of
from prunecli.files.tensors import TensorFile
from prunecli.images.batches import ScoringBatches
from prunecli.images.source import GivenImages, Source
from prunecli.masks.targets import chosen, parameter_count, prunable_names
from prunecli.network import coverage
from prunecli.network.build import load_model
from prunecli.plugins.plugin import Plugin
from prunecli.plugins.resolve import resolve
from prunecli.runtime.device import pick_device, put_on, unrepeatable
from prunecli.runtime.versions import versions
from prunecli.scoring.by_network import network_scores
from prunecli.scoring.by_weights import TensorScores
from prunecli.scoring.checks import check_scores
from prunecli.settings.run import RunOptions
from prunecli.settings.scoring import ScoringSettings
from prunecli.tensors.parts import PART, InMemory, Made, Parted, in_memory
from prunecli.types import Mask, Scores


def names_of(scoring: ScoringSettings, file: TensorFile) -> list[str]:
    """The weights of a checkpoint, or of scores, that are meant; see `targets.chosen`."""
    return chosen(file, scoring.targets, scoring.ignore, scoring.exclude_classifier)


def plugin_of(scoring: ScoringSettings) -> Plugin:
    """The method, with its options. Raises BadUsage if none is given."""
    if scoring.method is None:
        raise BadUsage("no scoring method is given; choose one with --method")
    return resolve("scorers", scoring.method, scoring.options, by_file=False)


def first_layer(file: TensorFile) -> str | None:
    """The first prunable weight of the network, pruned or not; None where the order is not known.

    Safetensors sort the names of a file, so only what prunecli made says it.
    """
    if kind_of(file) == "scores":
        return file.says(ScoresRecord).first
    return prunable_names(file)[0] if file.record else None


class Scored:
    """A checkpoint and a method, ready to be scored under one mask after another."""

    def __init__(
        self,
        file: TensorFile,
        scoring: ScoringSettings,
        run: RunOptions,
        network: nn.Module | None = None,
        images: GivenImages | None = None,
    ) -> None:
        """Prepare to score a file.

        A `network` that has the file's tensors is taken as it is: it is not built, and stays where
        it is. With `images`, those of `scoring` are not looked for.
        """
        self.file, self.scoring = file, scoring
        self.plugin = plugin_of(scoring)
        self.names = names_of(scoring, file)
        self.seed = run.seed if run.seed is not None else file.says(Described).seed or 0
        self.device = pick_device(run.device)
        self.warn = cache(run.progress.warn)  # once, in however many rounds
        self.needs_model = self.plugin.takes_model
        if self.needs_model:
            if network is None:
                network = put_on(load_model(file), self.device).eval()
            self.model, self.device = network, next(network.parameters()).device
            own = file.says(CheckpointRecord)
            self.described = own.model
            known = own if file.record else None
            self.source = images or Source.of(scoring.data, known)
            self.load = cache(lambda: self.source.load("train", own, run.progress))

    @property
    def is_known(self) -> bool:
        """Whether `record` tells all that scores depend on.

        It does not tell of a GPU, nor of others' code.
        """
        return not self.needs_model and self.plugin.own

    def record(self, mask: str | None = None) -> ScoresRecord:
        """The metadata of scores under the mask with that hash."""
        own = self.file.says(CheckpointRecord)
        return ScoresRecord(
            method=self.plugin.name,
            options=self.plugin.options,
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

    def artifact(self, before: MaskFile | None) -> tuple[dict[str, Made], dict[str, str]]:
        """Scores under a mask, as a file of them has them: its tensors and its metadata."""
        scores = self(before)
        made = {
            name: Made(torch.float32, shape, partial(scores.parts, name))
            for name, shape in scores.shapes.items()
        }
        return made, metadata(self.record(before.file.sha256 if before else None))

    def __call__(self, mask: Parted | None) -> Parted:
        """The scores of the weights that the mask leaves; those that it removed score -inf."""
        if not self.needs_model:
            own = (self.file, self.names, self.plugin, self.seed, self.file.label)
            scores = TensorScores(*own, mask)
            return Left(scores, mask) if mask else scores
        kept = in_memory(mask) if mask else {}
        made = self._model_scores(kept)
        check_scores(made, self.plugin, self.file.label)
        for name in made.keys() & kept.keys():
            made[name].masked_fill_(~kept[name], PRUNED)
        return InMemory(made)

    def _model_scores(self, mask: Mask) -> Scores:
        shape = self.described.input_shape if self.described else self.load().input_shape
        batches = ScoringBatches(
            shape,
            self.load,
            self.device,
            self.scoring.batch_size,
            self.seed,
        )
        given = (self.plugin, self.model, batches, mask, self.seed, self.file.label)
        with unrepeatable(self.warn):
            scores = network_scores(*given)
        return {name: scores[name] for name in self.names}


class Left:
    """Scores of which those that a mask removed are -inf; see `parts.Parted`."""

    def __init__(self, scores: Parted, mask: Parted) -> None:
        self.scores, self.mask, self.shapes = scores, mask, scores.shapes

    def parts(self, name: str, size: int = PART) -> Iterator[Tensor]:
        return pruned_before(self.scores.parts(name, size), self.mask, name, size)


def record_of_scores(file: TensorFile, scoring: ScoringSettings, names: list[str]) -> ScoresRecord:
    """What scores say of how they came about, where only these `names` of them are meant."""
    own = file.says(ScoresRecord)
    return replace(
        own,
        left_out={**(own.left_out or {}), **scoring.left_out},
        left_whole=coverage.of_scores(file, names),
        layouts=layouts_of(file, names),
        versions=versions(),
    )
