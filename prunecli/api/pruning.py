"""Scoring, masking and applying: what `prunecli score`, `mask` and `apply` do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import gettempdir
from typing import Any, overload

from torch import Tensor, nn

from prunecli.api import given
from prunecli.api.artifacts import Checkpoint, Mask, Scores
from prunecli.errors import BadUsage, suggest
from prunecli.files.artifacts import MaskFile, check_mask_fits
from prunecli.files.tensors import TensorFile
from prunecli.files.unwritten import Unwritten
from prunecli.masks.applied import described, masked
from prunecli.masks.fitting import check_maskable, fitting
from prunecli.masks.mask import aligned, apply_
from prunecli.masks.patterns import Pattern
from prunecli.masks.rounds import SCHEDULES
from prunecli.masks.scopes import SCOPES
from prunecli.network.layers import prunable
from prunecli.plugins import registry
from prunecli.pruning.masking import Masking
from prunecli.pruning.selection import Selection
from prunecli.scoring.scored import Scored, Scoring
from prunecli.settings.common import Common
from prunecli.settings.density import density_of
from prunecli.tensors.parts import one_thread
from prunecli.types import Mask as Bits
from prunecli.types import Params

COUNTS = ["scored", "model"]
GivenMask = Mask | Mapping[str, Tensor]


def score(
    what: given.Network,
    method: str,
    *,
    options: Mapping[str, Any] | None = None,
    data: given.Data | None = None,
    batch_size: int = 128,
    mask: GivenMask | None = None,
    targets: Sequence[str] = (),
    ignore: Sequence[str] = (),
    exclude_classifier: bool = False,
    seed: int | None = None,
    device: str = "auto",
) -> Scores:
    """The score of every prunable weight by a method, higher = keep, as `prunecli score` gives it.

    `what` is a checkpoint, any module, or tensors by name; a module is left as it is, and scored on
    its device. Methods that look at data take the checkpoint's own, unless `data` says otherwise;
    of a module they need it, also `synflow`, which looks at the images' shape alone. Under a `mask`
    removed weights are zero, and score -inf. `targets`, `ignore` and `exclude_classifier` say which
    weights are meant, as those of the command do.

    Scores by weights alone are made when they are read, so weights must not change until then.

    Raises BadUsage for a method, an option or a pattern that is not there, Mismatch for a network
    or mask that does not fit, NotFinite for NaN or infinity in weights or scores.

    >>> model = prunecli.Network("cnn", (1, 28, 28), 10).build()
    >>> scores = prunecli.score(model, "snip", data="digits", batch_size=32)
    >>> list(scores.shapes)
    ['conv1.weight', 'conv2.weight', 'fc1.weight', 'fc2.weight']
    """
    checkpoint = given.checkpoint_of(what)
    scoring = _scoring(method, options, data, batch_size, targets, ignore, exclude_classifier)
    before = _before(mask, checkpoint._file)
    common = Common(device=device, seed=seed, progress=given.Warned())
    scorer = Scored(checkpoint._file, scoring, common, checkpoint._network)
    sources = checkpoint._file.places + (before.file.places if before else [])
    return Scores(Unwritten(*scorer.artifact(before), f"the scores by {method}", sources))


def mask(
    what: Scores | given.Network,
    method: str | None = None,
    *,
    density: float | None = None,
    sparsity: float | None = None,
    compression: float | None = None,
    critical: bool = False,
    scope: str = "global",
    dense: Sequence[str] = (),
    pattern: str | None = None,
    rounds: int | None = None,
    schedule: str | None = None,
    count: str = "scored",
    before: GivenMask | None = None,
    options: Mapping[str, Any] | None = None,
    data: given.Data | None = None,
    batch_size: int = 128,
    targets: Sequence[str] = (),
    ignore: Sequence[str] = (),
    exclude_classifier: bool = False,
    allow_dead_layers: bool = True,
    seed: int | None = None,
    device: str = "auto",
) -> Mask:
    """The mask that keeps exactly round(density * n) of n weights, the highest scores.

    Without a `method`, `what` are scores, or your own by the weights' names; with one, a
    checkpoint, module or tensors that are scored by it, in `rounds` each anew. How many stay is
    said by one of `density` (the kept fraction), `sparsity` (the removed one), `compression`
    (1 / density) and `critical`, or by a `pattern` such as "2:4". What the mask `before` removed
    stays removed. The rest is as in `prunecli mask`, and so is the mask.

    Raises BadUsage for what cannot be asked for, Mismatch where scores do not say what to keep or
    inputs do not fit, NotFinite for NaN or infinity.

    >>> own = {"fc.weight": torch.tensor([[0.1, 0.4], [0.3, 0.2]])}
    >>> prunecli.mask(own, density=0.5)["fc.weight"].tolist()
    [[False, True], [True, False]]
    """
    artifact = given.scores_of(what) if method is None else given.checkpoint_of(what)
    scoring = _scoring(method, options, data, batch_size, targets, ignore, exclude_classifier)
    measures = {"density": density, "sparsity": sparsity, "compression": compression}
    _check_words(scope, schedule, count)
    selection = Selection(
        _asked(measures, critical, pattern, method),
        scope,
        rounds,
        schedule,
        allow_dead_layers=allow_dead_layers,
        count=count,
        pattern=Pattern.parse(pattern) if pattern else None,
        dense=tuple(dense),
    )
    common = Common(device=device, seed=seed, progress=given.Warned())
    file, nested = artifact._file, _before(before, artifact._file)
    masking = Masking.of(file, selection, scoring, nested, common, artifact._network)
    return given.mask_with(*masking.made(Path(gettempdir()), "the mask"))


@overload
def apply(what: given.M, mask: GivenMask) -> given.M: ...
@overload
def apply(what: Checkpoint | Mapping[str, Tensor], mask: GivenMask) -> Checkpoint: ...
def apply(what: given.Network, mask: GivenMask) -> nn.Module | Checkpoint:
    """A module with what the mask excludes set to exactly +0.0, in place; or a new checkpoint.

    Of a checkpoint, or tensors, nothing else changes, and what is written of it is what
    `prunecli apply` writes. It is made when it is read, so tensors must not change until then.
    To keep weights at zero while you train on, use `held`.

    Raises Mismatch where the mask does not fit.

    >>> model = prunecli.Network("cnn", (1, 28, 28), 10).build()
    >>> mask = prunecli.mask(model, "magnitude", density=0.25)
    >>> int(prunecli.apply(model, mask).fc2.weight.count_nonzero()) == int(mask["fc2.weight"].sum())
    True
    """
    if isinstance(what, nn.Module):
        apply_(*fitted(what, mask))
        return what
    file = given.checkpoint_of(what)._file
    kept = fitting(given.mask_of(mask)._bits, file)
    with one_thread():
        text = described(file, kept)
    tensors = {name: masked(file, kept, name) for name in file}
    said = {**file.metadata, "prunecli": text}
    return Checkpoint(Unwritten(tensors, said, file.label, file.places + kept.file.places))


def fitted(model: nn.Module, mask: GivenMask) -> tuple[Params, Bits]:
    """The weights of a module that a mask covers, and its bits as they lie.

    Raises Mismatch where it covers what is no weight that may be pruned.
    """
    bits, own = given.mask_of(mask), dict(model.named_parameters())
    label = f"the module {type(model).__name__!r}"
    shapes = {name: tuple(weight.shape) for name, weight in own.items()}
    check_mask_fits(bits.shapes, shapes, bits._file.label, label)
    check_maskable(bits.shapes, prunable(model), bits._file.label)
    return {name: own[name] for name in bits}, aligned(dict(bits), own)


def _before(mask: GivenMask | None, file: TensorFile) -> MaskFile | None:
    return None if mask is None else fitting(given.mask_of(mask)._bits, file)


def _scoring(
    method: str | None,
    options: Mapping[str, Any] | None,
    data: given.Data | None,
    batch_size: int,
    targets: Sequence[str],
    ignore: Sequence[str],
    exclude_classifier: bool,
) -> Scoring:
    return Scoring(
        given.named(method) if method is not None else None,
        options or {},
        given.source_of(data),
        batch_size,
        tuple(targets),
        tuple(ignore),
        exclude_classifier,
    )


def _check_words(scope: str, schedule: str | None, count: str) -> None:
    said = (
        ("scope", scope, list(SCOPES)),
        ("schedule", schedule, list(SCHEDULES)),
        ("count", count, COUNTS),
    )
    for what, word, known in said:
        if word is not None and word not in known:
            raise BadUsage(f"there is no {what} {word!r}{suggest(word, known)}")


def _asked(
    measures: Mapping[str, float | None], critical: bool, pattern: str | None, method: str | None
) -> float | None:
    """The density asked for; None for the critical one, and where a pattern or method decides."""
    said = {name: value for name, value in measures.items() if value is not None}
    names = [*said, *(["critical"] if critical else [])]
    decides = method is not None and registry.decides(registry.find("scorers", method))
    if pattern or decides:
        if names:
            by = f"pattern={pattern!r}" if pattern else f"the method {method!r}"
            raise BadUsage(f"{by} decides how many stay; leave {names[0]}= out")
        return None
    if len(names) != 1:
        raise BadUsage("give exactly one of density, sparsity, compression and critical")
    if critical:
        return None
    [(name, value)] = said.items()
    kept = density_of(name, value) if value else 1.0 - (name != "sparsity")
    if not 0 < kept <= 1:
        raise BadUsage(f"{name}={value:g}: it must keep some of the weights, and at most all")
    return kept
