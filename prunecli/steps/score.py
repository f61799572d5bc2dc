"""`score`: from a checkpoint to the importance of its weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from prunecli import coverage, registry
from prunecli.batches import ScoringBatches
from prunecli.device import pick_device, place, unrepeatable
from prunecli.errors import BadUsage, NotFinite
from prunecli.files.artifacts import PRUNED, kind_of, metadata, open_artifact
from prunecli.files.atomic import write_tensors
from prunecli.files.claims import check_output, claimed
from prunecli.files.stages import write_in_stages
from prunecli.files.tensors import TensorFile
from prunecli.masks import all_finite, apply_, chosen, parameter_count, prunable, prunable_names
from prunecli.modules import theirs
from prunecli.parts import Held, Made, Parted, held
from prunecli.roles import layouts_of
from prunecli.seeds import derive_seed
from prunecli.steps._common import Common, fitting_mask, options_with_seed, versions
from prunecli.steps._data import Source
from prunecli.steps._names import sibling, stem
from prunecli.steps._network import load_model
from prunecli.steps._tensor_scores import TensorScores, check_form
from prunecli.types import Batches, Mask, Scores
from prunecli.untouched import untouched


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


def score(checkpoint: Path, scoring: Scoring, mask: Path | None, common: Common) -> Path:
    """Score a checkpoint's prunable weights and write them, higher = keep.

    With a mask, the weights it removed are zero while scoring and score -inf in the file. Where
    weights alone decide, a large file that was stopped is gone on with.
    """
    file = open_artifact(checkpoint, "checkpoint")
    before = fitting_mask(mask, file) if mask else None
    method = file_word(scoring.method or "")
    output = common.output or sibling(checkpoint, f"{stem(checkpoint)}.{method}.scores.safetensors")
    inputs = file.places + (before.file.places if before else [])
    check_output(output, inputs, force=common.force)
    scorer = Scored(file, scoring, common)
    if common.dry_run:
        return output
    staged = scorer.is_known
    claim = claimed(output, inputs, force=common.force, wait=common.wait, in_stages=staged)
    with claim as target:
        file.hash_ahead()
        scores = scorer(before)
        meta = scorer.facts() | {"mask": before.file.sha256 if before else None}
        meta["first"] = first_layer(file)
        made = {
            name: Made(torch.float32, shape, partial(scores.parts, name))
            for name, shape in scores.shapes.items()
        }
        write = write_in_stages if staged else write_tensors
        write(target, made, metadata("scores", meta))
    return output


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

    def __init__(self, file: TensorFile, scoring: Scoring, common: Common) -> None:
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
            self.model = place(load_model(file), self.device).eval()
            self.source = scoring.source.resolved(file.meta)
            self.load = cache(lambda: self.source.load("train", file.meta, common.progress))

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


def network_scores(
    scorer: Callable[..., Scores],
    model: nn.Module,
    batches: Batches,
    mask: Mask,
    seed: int,
    label: str,
) -> Scores:
    """What a scorer makes of a network in memory, with what the mask excludes zero."""
    with untouched(model):
        model.eval()
        torch.manual_seed(derive_seed(seed, "scoring"))
        params = dict(model.named_parameters())
        apply_(params, {name: kept.to(params[name].device) for name, kept in mask.items()})
        for name, weight in params.items():
            check_weight(name, weight.detach(), label)
        given = {"mask": mask} if registry.takes_mask(scorer) else {}
        with _scoring(scorer, label):
            scores = scorer(model, batches, **given)
        for name, own in prunable(model).items():
            check_form(scores.get(name), own.shape, name, scorer)
    # Laid out as files and selection read them, once instead of at every pass.
    return {name: score.detach().float().cpu().contiguous() for name, score in scores.items()}


@contextmanager
def _scoring(scorer: Callable[..., Scores], label: str) -> Iterator[None]:
    """Raise Mismatch where a network is none that prunecli's own method can do with.

    A plugin's own fault goes on as it is, to be told as such.
    """
    function = scorer.func if isinstance(scorer, partial) else scorer
    if not function.__module__.startswith("prunecli."):
        yield
        return
    method = function.__name__.replace("_", "-")
    with theirs(f"{label}: the method {method!r} cannot score the network"):
        yield


def check_weight(name: str, weight: torch.Tensor, label: str) -> None:
    if not all_finite(weight):
        raise NotFinite(f"{label}: {name!r} holds NaN or infinity; it cannot be scored")


def check_scores(scores: Scores, method: str, label: str) -> None:
    for name, score in scores.items():
        if not all_finite(score):
            raise NotFinite(
                f"{method}: the scores of {name!r} hold NaN or infinity; "
                f"check {label} with 'inspect'"
            )
