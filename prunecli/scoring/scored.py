"""A checkpoint and a method, ready to be scored."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial
from typing import Any

from prunecli.errors import BadUsage
from prunecli.files.artifacts import PRUNED, kind_of
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
from prunecli.settings.run import RunOptions
from prunecli.settings.scoring import ScoringSettings
from prunecli.tensors.parts import Held, Parted, held
from prunecli.types import Mask, Scores


def names_of(scoring: ScoringSettings, file: TensorFile) -> list[str]:
    """The weights of a checkpoint, or of scores, that are meant; see `targets.chosen`."""
    return chosen(file, scoring.targets, scoring.ignore, scoring.exclude_classifier)


def checked(scoring: ScoringSettings) -> ScoringSettings:
    """With the method's options of their own types. Raises BadUsage for unknown ones."""
    if scoring.method is None:
        raise BadUsage("how are the weights to be scored? say it with --method")
    return replace(scoring, options=registry.bind("scorers", scoring.method, scoring.options))


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

    def __init__(self, file: TensorFile, scoring: ScoringSettings, run: RunOptions) -> None:
        self.file, self.scoring = file, checked(scoring)
        self.method = str(scoring.method)
        self.names = names_of(scoring, file)
        self.function = registry.find("scorers", self.method)
        self.seed = run.seed if run.seed is not None else (file.meta or {}).get("seed") or 0
        self.device = pick_device(run.device)
        self.warn = cache(run.progress.warn)  # once, in however many rounds
        self.decides = registry.decides(self.function)
        """By itself what stays; see `types.decisive`."""
        self.needs_model = registry.takes_model(self.function)
        if self.needs_model:
            self.model = place(load_model(file), self.device).eval()
            self.source = Source.of(scoring.data, file.meta)
            self.load = cache(lambda: self.source.load("train", file.meta, run.progress))

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
        meta = self.file.meta or {}
        channels, height, width = meta["model"]["input_shape"]
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


def lineage_of_scores(
    file: TensorFile, scoring: ScoringSettings, names: list[str]
) -> dict[str, Any]:
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
