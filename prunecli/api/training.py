"""Training and evaluating networks in memory: what `prunecli train` and `eval` do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from prunecli.api import given
from prunecli.api.artifacts import Checkpoint, Mask
from prunecli.api.pruning import GivenMask, fitted
from prunecli.errors import BadUsage
from prunecli.files.records import CheckpointRecord, ModelRecord, PrunerRecord
from prunecli.images.batches import ImageBatches, eval_batch
from prunecli.images.source import Source
from prunecli.network.build import check_trainable
from prunecli.network.modules import check_sound
from prunecli.plugins.plugin import Plugin
from prunecli.plugins.resolve import resolve
from prunecli.pruners._fixed import Fixed
from prunecli.runtime.device import pick_device, pick_precision, put_on, unrepeatable
from prunecli.runtime.seeds import derive_seed
from prunecli.settings.eval import EvalSettings
from prunecli.settings.table import check
from prunecli.settings.training import Hyperparameters
from prunecli.training import loop
from prunecli.training.course import TrainingSet, begun, build_pruner
from prunecli.training.outcome import record_of_mask
from prunecli.training.state import TrainingState
from prunecli.types import Images, Pruner
from prunecli.types import Mask as Bits


@dataclass(frozen=True)
class Trained:
    """The result of a training, besides the weights.

    >>> model = prunecli.Network("cnn", (1, 28, 28), 10).build()
    >>> trained = prunecli.train(model, "digits", prunecli.Hyperparameters(epochs=1))
    >>> sorted(trained.history[0]), trained.mask
    (['epoch', 'loss', 'lr'], None)
    """

    history: tuple[Mapping[str, Any], ...]
    """The log of each epoch: its number, mean loss, learning rate, and more."""
    mask: Mask | None
    """The mask at the end: the given one, or the pruner's."""


@dataclass(frozen=True)
class Evaluation:
    """The accuracy and loss of a network on a data set.

    >>> model = prunecli.Network("cnn", (1, 28, 28), 10).build()
    >>> result = prunecli.evaluate(model, "digits")
    >>> result.images, 0 <= result.top1 <= result.top5 <= 100
    (355, True)
    """

    top1: float
    """Percentage of the images whose class has the highest score."""
    top5: float
    """Percentage of the images whose class is among the five highest scores."""
    loss: float
    """Mean cross-entropy, in nats."""
    images: int
    """The number of images."""


def train(
    model: nn.Module,
    data: given.Data,
    settings: Hyperparameters | None = None,
    *,
    test: given.Data | None = None,
    mask: GivenMask | None = None,
    pruner: str | None = None,
    options: Mapping[str, Any] | None = None,
    ignore: Sequence[str] = (),
    exclude_classifier: bool = False,
    seed: int = 0,
) -> Trained:
    """Train a module in place, on its device, as `prunecli train` and `finetune` do.

    `data` is the name of a data set, or images. With `test`, every epoch is evaluated on it. With a
    `mask`, pruned weights are exactly +0.0 after every step. A `pruner`, with its `options`, prunes
    during training; `ignore` and `exclude_classifier` exclude weights from it. The same call on the
    same weights gives the same bits, and those of the command, except for what dropout draws. The
    global random state does not change. If you need to interrupt and resume, use the command.

    Raises BadUsage for an unknown pruner, option or data set, Mismatch for a module or mask that
    does not fit, and NotFinite if training diverges.

    >>> model = prunecli.Network("cnn", (1, 28, 28), 10).build()
    >>> mask = prunecli.mask(model, "magnitude", density=0.05)
    >>> trained = prunecli.train(model, "digits", prunecli.Hyperparameters(epochs=1), mask=mask)
    >>> bool((model.fc2.weight[~mask["fc2.weight"]] == 0).all())
    True
    """
    if mask is not None and pruner is not None:
        raise BadUsage("a pruner makes its own mask; leave mask= out")
    if pruner is None and (options or ignore or exclude_classifier):
        raise BadUsage("options=, ignore= and exclude_classifier= need pruner=")
    images = given.loaded(data, "train")
    tested = None if test is None else given.loaded(test, "test")
    check_sound(model, f"the module {type(model).__name__!r}")
    device = next(model.parameters()).device
    settings = settings or Hyperparameters()
    settings.check()
    settings = replace(settings, precision=pick_precision(settings.precision, device))
    put_on(model, device)
    _check_trainable(model, images)
    left, plugin = (tuple(ignore), exclude_classifier), None
    if pruner is not None:
        plugin = resolve("pruners", given.named(pruner), options or {}, by_file=False)

    def acts(training: TrainingSet) -> Pruner:
        if plugin is None:
            return Fixed(fitted(model, mask)[1]) if mask is not None else Pruner()
        return build_pruner(plugin, model, training, settings.epochs, *left, given.Warned())

    with unrepeatable(given.Warned().warn), _modes_kept(model), _own_random(device, seed):
        state, batches = begun(model, images, settings, seed, acts)
        testing = None if tested is None else _batches(model, tested, None)
        loop.train(state, batches, settings, seed, test=testing)
        kept = state.settle(settings.epochs)
    made = None if mask is None else given.mask_of(mask)
    if plugin is not None and kept:
        made = _mask_by(plugin, state, kept, seed, *left)
    return Trained(tuple(state.history), made)


def _mask_by(
    plugin: Plugin,
    state: TrainingState,
    kept: Bits,
    seed: int,
    ignore: tuple[str, ...],
    exclude_classifier: bool,
) -> Mask:
    """The mask that a pruner made, with the metadata that the command would write."""
    pruner = PrunerRecord(
        name=plugin.name,
        options=plugin.options,
        ignore=ignore,
        exclude_classifier=exclude_classifier,
    )
    bits = {name: each.cpu() for name, each in kept.items()}
    return given.mask_with(bits, record_of_mask(state, kept, pruner, seed))


def _check_trainable(model: nn.Module, images: Images) -> None:
    own = ModelRecord(
        name=type(model).__name__,
        options={},
        input_shape=images.input_shape,
        classes=len(images.classes),
    )
    check_trainable(model, own)


def evaluate(
    what: Checkpoint | nn.Module,
    data: given.Data | None = None,
    *,
    batch_size: int | None = None,
    precision: str = "auto",
    device: str = "auto",
) -> Evaluation:
    """Accuracy and loss on a test set, as `prunecli eval` measures them.

    A module is evaluated on its device and does not change. For a checkpoint, its network is built,
    and its own data set is used unless `data` is given. `precision` is `bf16`, `fp32`, or `auto`
    for bf16 if the hardware supports it.

    Raises BadUsage without a data set or for an invalid setting, Mismatch if the data do not fit,
    and NotFinite if the network outputs NaN or infinity.

    >>> network = prunecli.Network("cnn", (1, 28, 28), 10)
    >>> model = network.build()
    >>> path = prunecli.write_checkpoint("cnn.safetensors", model, network=network, data="digits")
    >>> prunecli.evaluate(prunecli.read_checkpoint(path)) == prunecli.evaluate(model, "digits")
    True
    """
    check(EvalSettings(batch_size=batch_size, precision=precision))
    if isinstance(what, Checkpoint) and what._network is None:
        own = what._file.says(CheckpointRecord)
        model = put_on(what.model(), pick_device(device))
        source = given.images_of(data) or Source.of(given.data_of(data), own)
        images = source.load("test", own)
    else:
        model = what.model() if isinstance(what, Checkpoint) else what
        images = given.loaded(data, "test")
    test, on = _batches(model, images, batch_size), next(model.parameters()).device
    with unrepeatable(given.Warned().warn), _modes_kept(model):
        found = loop.evaluate(model, test, pick_precision(precision, on), on)
    return Evaluation(found["top1"], found["top5"], found["loss"], len(test.labels))


def _batches(model: nn.Module, images: Images, size: int | None) -> ImageBatches:
    device = next(model.parameters()).device
    return ImageBatches(images, device, size or eval_batch(device, images.input_shape))


@contextmanager
def _own_random(device: torch.device, seed: int) -> Iterator[None]:
    """A context with random numbers from the seed; it restores the random state afterwards."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(derive_seed(seed, "train"))
        yield


@contextmanager
def _modes_kept(model: nn.Module) -> Iterator[None]:
    """A context that restores each module's training mode afterwards."""
    modes = {module: module.training for module in model.modules()}
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
