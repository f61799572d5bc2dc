"""Scoring, masking and applying: what `prunecli score`, `mask` and `apply` do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import gettempdir
from typing import Any, overload

from torch import Tensor, nn

from prunecli.api import given
from prunecli.api.artifacts import Checkpoint, Mask, Scores
from prunecli.files.artifacts import MaskFile, check_mask_fits
from prunecli.files.tensors import TensorFile
from prunecli.files.unwritten import Unwritten
from prunecli.masks.applied import described, masked
from prunecli.masks.fitting import check_maskable, fitting
from prunecli.masks.mask import aligned, apply_
from prunecli.network.layers import prunable
from prunecli.pruning.masking import Masking
from prunecli.pruning.selection import Selection
from prunecli.scoring.scored import Scored
from prunecli.settings.mask import MaskSettings
from prunecli.settings.run import RunOptions
from prunecli.settings.scoring import ScoringSettings
from prunecli.settings.table import check
from prunecli.tensors.parts import one_thread
from prunecli.types import Mask as Bits
from prunecli.types import Params

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
    """Score every prunable weight with a method, as `prunecli score` does; the highest are kept.

    `what` is a checkpoint, any module, or tensors by name. A module does not change, and is scored
    on its device. Methods that use data take the checkpoint's own, unless `data` is given. For a
    module they need `data`, even `synflow`, which uses only the shape of the images. With a `mask`,
    removed weights are zero and score -inf. `targets`, `ignore` and `exclude_classifier` select
    the weights, as in the command.

    Methods that use the weights alone compute scores on access: do not change weights before.

    Raises BadUsage for an unknown method, option or pattern, Mismatch for a network or mask that
    does not fit, and NotFinite for NaN or infinity in weights or scores.

    >>> model = prunecli.Network("cnn", (1, 28, 28), 10).build()
    >>> scores = prunecli.score(model, "snip", data="digits", batch_size=32)
    >>> list(scores.shapes)
    ['conv1.weight', 'conv2.weight', 'fc1.weight', 'fc2.weight']
    """
    checkpoint = given.checkpoint_of(what)
    scoring = ScoringSettings(
        given.named(method), options or {}, given.data_of(data), batch_size,
        exclude_classifier, tuple(targets), tuple(ignore),
    )  # fmt: skip
    check(scoring)
    before = _before(mask, checkpoint._file)
    run = RunOptions(device=device, seed=seed, progress=given.Warned())
    images = given.images_of(data)
    scorer = Scored(checkpoint._file, scoring, run, checkpoint._network, images)
    sources = checkpoint._file.paths + (before.file.paths if before else [])
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
    count: str | None = None,
    rule: str = "exact",
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
    """The mask that keeps exactly round(density * n) of n weights, those with the highest scores.

    Without a `method`, `what` is scores, or your own tensors by weight name. With a method, it is
    a checkpoint, a module or tensors, which the method scores again in each of the `rounds`. Give
    one of `density` (the kept fraction), `sparsity` (the removed fraction), `compression`
    (1 / density) and `critical`, or a `pattern` such as "2:4". Weights that the mask `before`
    removed stay removed. All other arguments, and the result, are those of `prunecli mask`.

    Raises BadUsage for invalid arguments, Mismatch if the scores cannot rank the weights or inputs
    do not fit, and NotFinite for NaN or infinity.

    >>> own = {"fc.weight": torch.tensor([[0.1, 0.4], [0.3, 0.2]])}
    >>> prunecli.mask(own, density=0.5)["fc.weight"].tolist()
    [[False, True], [True, False]]
    """
    artifact = given.scores_of(what) if method is None else given.checkpoint_of(what)
    scoring = ScoringSettings(
        method and given.named(method), options or {}, given.data_of(data), batch_size,
        exclude_classifier, tuple(targets), tuple(ignore),
    )  # fmt: skip
    settings = MaskSettings(
        density, sparsity, compression, critical, scope, tuple(dense), pattern, rounds, schedule,
        count, rule, no_dead_layers=not allow_dead_layers, scoring=scoring,
    )  # fmt: skip
    check(settings)
    selection = Selection.asked(settings)
    run = RunOptions(device=device, seed=seed, progress=given.Warned())
    file, nested = artifact._file, _before(before, artifact._file)
    images = given.images_of(data)
    masking = Masking.of(file, selection, scoring, nested, run, artifact._network, images)
    return given.mask_with(*masking.made(Path(gettempdir()), "the mask"))


@overload
def apply(what: given.M, mask: GivenMask) -> given.M: ...
@overload
def apply(what: Checkpoint | Mapping[str, Tensor], mask: GivenMask) -> Checkpoint: ...
def apply(what: given.Network, mask: GivenMask) -> nn.Module | Checkpoint:
    """Set pruned weights to exactly +0.0: of a module in place, of a checkpoint in a new one.

    Nothing else in a checkpoint, or tensors, changes, and `write_checkpoint` then writes what
    `prunecli apply` writes. Tensors are computed on access: do not change them before. To keep
    weights at zero while you train on, use `held`.

    Raises Mismatch if the mask does not fit.

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
    return Checkpoint(Unwritten(tensors, said, file.label, file.paths + kept.file.paths))


def fitted(model: nn.Module, mask: GivenMask) -> tuple[Params, Bits]:
    """The weights of a module that a mask covers, and the mask's bits.

    Raises Mismatch if it covers a tensor that is not a prunable weight.
    """
    bits, own = given.mask_of(mask), dict(model.named_parameters())
    label = f"the module {type(model).__name__!r}"
    shapes = {name: tuple(weight.shape) for name, weight in own.items()}
    check_mask_fits(bits.shapes, shapes, bits._file.label, label)
    check_maskable(bits.shapes, prunable(model), bits._file.label)
    return {name: own[name] for name in bits}, aligned(dict(bits), own)


def _before(mask: GivenMask | None, file: TensorFile) -> MaskFile | None:
    return None if mask is None else fitting(given.mask_of(mask)._bits, file)
