"""A checkpoint and a method, ready to be scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import torch
from torch import nn

from prunecli.errors import BadUsage
from prunecli.files.artifacts import PRUNED, MaskFile, kind_of, metadata
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
from prunecli.tensors.parts import Held, Made, Parted, held
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
        return (file.meta or {}).get("first")
    return prunable_names(file)[0] if file.meta else None


def file_word(method: str) -> str:
    """A method's name for use in a file's name, import paths included."""
    return method.replace(":", ".").replace("/", ".")


class Scored:
    """A checkpoint and a method, ready to be scored under one mask after another."""

    def __init__(
        self,
        file: TensorFile,
        scoring: Scoring,
        common: Common,
        network: nn.Module | None = None,
    ) -> None:
        """With a `network` that has the file's tensors, it is not built, and stays where it is."""
        self.file, self.scoring = file, scoring.checked()
        self.method = str(scoring.method)
        self.names = scoring.names(file)
        self.function = registry.find("scorers", self.method)
        self.seed = common.seed if common.seed is not None else (file.meta or {}).get("seed") or 0
        self.device = pick_device(common.device)
        self.warn = cache(common.progress.warn)  # once, in however many rounds
        self.decides = registry.decides(self.function)
        """By itself what stays; see `types.decisive`."""
        self.needs_model = registry.takes_model(self.function)
        if self.needs_model:
            if network is None:
                network = place(load_model(file), self.device).eval()
            self.model, self.device = network, next(network.parameters()).device
            self.described = (file.meta or {}).get("model")
            self.source = scoring.source.resolved(file.meta)
            told = file.meta if self.described else None
            self.load = cache(lambda: self.source.load("train", told, common.progress))

    @property
    def is_known(self) -> bool:
        """Whether `facts` tell all that scores depend on: of a GPU or others' code they do not."""
        return not self.needs_model and self.function.__module__.startswith("prunecli.")

    def facts(self) -> dict[str, Any]:
        """What the metadata of scores and masks says of how they came about."""
        meta = self.file.meta or {}
        return {
            "method": self.method,
            "options": dict(self.scoring.options),
            "seed": self.seed,
            "scoring": self._looked_at() if self.needs_model else None,
            "left_out": self.scoring.left_out,
            "parent": self.file.sha256,
            "left_whole": coverage.of_file(self.file, self.names),
            "layouts": layouts_of(self.file, self.names),
            "parameters": parameter_count(self.file),
            "classifier": meta.get("classifier"),
            "model": meta.get("model"),
            "versions": versions(),
        }

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
        facts = {"mask": before.file.sha256 if before else None, "first": first_layer(self.file)}
        return made, metadata("scores", self.facts() | facts)

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
        shape = self.described["input_shape"] if self.described else self.load().input_shape
        channels, height, width = shape
        batches = ScoringBatches(
            (channels, height, width),
            self.load,
            self.device,
            self.scoring.batch_size,
            self.seed,
        )
        scorer = partial(self.function, **self._options())
        with unrepeatable(self.warn):
            scores = network_scores(scorer, self.model, batches, mask, self.seed, self.file.label)
        return {name: scores[name] for name in self.names}


def lineage_of_scores(file: TensorFile, scoring: Scoring, names: list[str]) -> dict[str, Any]:
    """What a mask's metadata says of the scores it is made of, these `names` of them."""
    meta = file.meta or {}
    keys = ("method", "options", "scoring", "seed", "parent", "parameters", "classifier", "model")
    left_out = {**(meta.get("left_out") or {}), **scoring.left_out}
    own = {
        "left_out": left_out,
        "left_whole": coverage.of_scores(file, names),
        "layouts": layouts_of(file, names),
        "scores": file.sha256,
        "versions": versions(),
    }
    return {key: meta.get(key) for key in keys} | own
