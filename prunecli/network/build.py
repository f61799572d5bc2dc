"""The network that a checkpoint's metadata describes, built and filled with its weights."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from prunecli.errors import BadInput, Mismatch
from prunecli.files.artifacts import state_forms
from prunecli.files.records import CheckpointRecord, ModelRecord
from prunecli.files.tensors import TensorFile
from prunecli.masks.fitting import check_maskable
from prunecli.masks.targets import PRUNED_MODULES, prunable_names
from prunecli.network.layers import prunable
from prunecli.network.modules import (
    cause,
    check_storable,
    is_scripted,
    is_unfinished,
    scores_of,
    theirs,
)
from prunecli.network.weights import check_weights, load_weights, read_weights
from prunecli.plugins.resolve import resolve
from prunecli.runtime.shortage import raise_shortage

NO_MODEL = (
    "{}: its metadata names no network; import it with "
    "'prunecli train CKPT --model NAME --dataset NAME --epochs 0 -o OUT'"
)


def build_model(model: ModelRecord, *, by_file: bool) -> nn.Module:
    """The described network with fresh weights; `by_file` as in `resolve`.

    Lazy parameters are initialised. Raises Mismatch if torch.jit hides the layers.
    """
    build = resolve("models", model.name, model.options, by_file=by_file)
    built: nn.Module = build(model.input_shape, model.classes)
    if is_scripted(built):
        raise Mismatch(f"model {model.name!r}: torch.jit hides its layers; leave torch.jit out")
    if is_unfinished(built):
        _shape_of_one(built, model, next(built.parameters()).device)
    return built


def load_model(checkpoint: TensorFile) -> nn.Module:
    """The checkpoint's network with its weights. Raises Mismatch if they do not match."""
    described = checkpoint.says(CheckpointRecord).model
    if described is None:
        raise Mismatch(NO_MODEL.format(checkpoint.label))
    with torch.random.fork_rng([]):  # the random weights are replaced
        bare = check_described(described, checkpoint)
        model = build_model(described, by_file=True) if on_meta(bare) else bare
    load_weights(model, read_weights(checkpoint), checkpoint.label)
    fits = on_meta(bare) and not at_hand(bare, described) and not _refusal(bare, described, "meta")
    if not fits and (error := _refusal(model, described)):
        raise BadInput(DAMAGED.format(checkpoint.label, cause(error))) from error
    check_maskable(prunable_names(checkpoint), prunable(model), checkpoint.label)
    return model


DAMAGED = "{}: its description of the network is damaged, or the model has changed since ({})"
UNFIT = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
    RuntimeError,
)
"""Errors of a model that cannot be built for the given options, images and classes."""
STEPS, STEPS_EACH = 4_000, 20
"""The most torch operations to build a network: a constant, and more per tensor."""
VALUES, VALUES_EACH = 2_000_000, 10
"""The most values that it may have: a constant, and more per value there is."""
ACTIVATIONS = 1 << 28
"""The most values in a layer's output, per image, to run a network unchecked."""


def check_described(described: ModelRecord, checkpoint: TensorFile) -> nn.Module:
    """The network from `built_small`, which the checkpoint's tensors fit.

    Raises Mismatch if they do not, BadInput if it cannot be built or is too large.
    """
    forms = state_forms(checkpoint)
    try:
        bare = built_small(described, {name: form.shape for name, form in forms.items()})
    except UNFIT as error:
        raise_shortage(error)
        raise BadInput(DAMAGED.format(checkpoint.label, cause(error))) from error
    check_weights(bare, forms, checkpoint.label)
    return bare


def built_small(described: ModelRecord, shapes: Mapping[str, tuple[int, ...]]) -> nn.Module:
    """The network from `build_model`, for a description that may be damaged.

    A damaged description may ask for a network of any size. So it is built on `meta`, without
    values. If that fails, it is built with values, within the limits for these shapes. Raises what
    the model raises, ValueError if it is too large.
    """
    try:
        with warnings.catch_warnings(), torch.device("meta"), _Small(shapes):
            warnings.simplefilter("ignore")  # about weights loaded on meta, which are lost
            return build_model(described, by_file=True)
    except _TooLarge:
        raise
    except UNFIT as error:  # perhaps only because there are no values
        raise_shortage(error)
        with _Small(shapes):
            return build_model(described, by_file=True)


class _TooLarge(ValueError):
    pass


class _Small(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Raises _TooLarge at far more operations or values than these shapes need."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.steps = STEPS + STEPS_EACH * len(shapes)
        self.values = most_values(shapes)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """False: nothing is compiled here, and True would load torch's compiler, for 1.5 s."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.steps -= 1
        device = (kwargs or {}).get("device")
        if device is not None and device.type != "meta":  # it makes a tensor: how large?
            self.values -= func(*args, **{**kwargs, "device": "meta"}).numel()
        if self.steps < 0 or self.values < 0:
            raise _TooLarge("the network is larger than its tensors")
        return func(*args, **(kwargs or {}))


def most_values(shapes: Mapping[str, tuple[int, ...]]) -> int:
    return VALUES + VALUES_EACH * sum(map(math.prod, shapes.values()))


def on_meta(model: nn.Module) -> bool:
    return any(tensor.is_meta for tensor in model.state_dict().values())


def at_hand(model: nn.Module, described: ModelRecord) -> bool:
    """Whether an image of the described shape is cheap to run, even if that is damaged.

    If not, running on `meta` checks the shapes; that loads torch's compiler, for 1.5 s.
    """
    channels = max((tensor.shape[0] for tensor in model.parameters() if tensor.ndim), default=1)
    _, height, width = described.input_shape
    return bool(height * width * channels <= ACTIVATIONS)


def _refusal(model: nn.Module, described: ModelRecord, device: str = "cpu") -> Exception | None:
    """The network's error for an image of the described shape, if any."""
    try:
        _shape_of_one(model, described, device)
    except UNFIT as error:
        raise_shortage(error)
        return error
    return None


@torch.no_grad()
def _shape_of_one(model: nn.Module, described: ModelRecord, device: Any) -> tuple[int, ...]:
    """The shape of the network's output for one image. Raises what the model raises."""
    training = model.training
    try:
        with torch.device(device):
            image = torch.zeros(1, *described.input_shape)
            return tuple(scores_of(model.eval()(image)).shape)
    finally:
        model.train(training)


def check_trainable(model: nn.Module, described: ModelRecord) -> None:
    """Raise Mismatch unless there is a weight to prune, and the output is a score per class.

    A network with the attribute `outputs` may give more scores than classes; the surplus is never
    right. Without that attribute, it counts as a mistake.
    """
    name, shape = described.name, described.input_shape
    if not prunable(model):
        raise Mismatch(f"model {name!r}: it has no weight of {PRUNED_MODULES}")
    check_storable(model, f"model {name!r}")
    size = "x".join(map(str, shape))
    with theirs(f"model {name!r}: it does not take {size} images"):
        given = _shape_of_one(model, described, next(model.parameters()).device)
    said = getattr(model, "outputs", None)
    scores = said if type(said) is int and said > described.classes else described.classes
    if given != (1, scores):
        wanted = f"{described.classes} classes"
        raise Mismatch(f"model {name!r}: of a {size} image it makes {list(given)}, not {wanted}")
