"""The concepts of the package.

A *scorer* says how much each weight matters, a *mask* says which weights stay, a *pruner* acts
while a model trains. Everything else moves these between files.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple, NewType, Protocol, TypeAlias, TypeVar, cast

import torch
from torch import Tensor, nn

Scores: TypeAlias = dict[str, Tensor]
"""Importance of every prunable weight: float32, the weight's shape, higher = keep."""

Mask: TypeAlias = dict[str, Tensor]
"""The weights that stay: bool, the weight's shape, True = kept."""

Params: TypeAlias = dict[str, Tensor]
"""The prunable weights of a model by name, live (not copies)."""


def form(given: Any) -> str:
    """The form 'float32 [10, 3, 28, 28]', for messages; the type's name if it is no tensor."""
    if not isinstance(given, Tensor) or given.is_nested:
        return type(given).__name__
    return f"{str(given.dtype).removeprefix('torch.')} {list(given.shape)}"


class Batches(Protocol):
    """Labelled batches for scoring: (inputs [B, C, H, W] float32, labels [B] int64).

    Lazy: the data set is opened by the first iteration, never by a data-free scorer. Without
    augmentation and in a fixed order, so iterating twice gives the same batches.
    """

    @property
    def input_shape(self) -> tuple[int, int, int]: ...

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]: ...

    def per_class(self, count: int) -> tuple[Tensor, Tensor]:
        """One batch with `count` images of every class, the classes taking turns."""
        ...


REACH = 4.0
"""Standard deviations to either side that a histogram of weights covers."""

Part = NewType("Part", Tensor)
"""Any flat part of a tensor, or all of it: `def magnitude(weight: Part) -> Tensor`.

For methods that score each weight by itself. The tensor then need not fit into memory.
"""

F = TypeVar("F", bound=Callable[..., Any])


def iterative(rounds: int) -> Callable[[F], F]:
    """Mark a scorer that prunes in that many rounds by default."""

    def mark(scorer: F) -> F:
        scorer.__dict__["rounds"] = rounds
        return scorer

    return mark


def decisive(scorer: F) -> F:
    """Mark a scorer that itself decides what to keep: scores above 0, at any density."""
    scorer.__dict__["decisive"] = True
    return scorer


def planned(check: Callable[..., object]) -> Callable[[F], F]:
    """Check a pruner's options against the epochs of the training, without a network.

    `check(epochs, *, ...)` names the pruner's options that it reads, and raises BadUsage. It runs
    when a study is planned, and before the pruner is made. Raises TypeError for unknown names.
    """

    def mark(pruner: F) -> F:
        own = inspect.signature(pruner)
        looked_at = list(inspect.signature(check).parameters)[1:]
        if odd := [name for name in looked_at if name not in own.parameters]:
            raise TypeError(
                f"{check.__name__} reads {odd[0]!r}, which is not an option of the pruner"
            )

        def fits(epochs: int, options: Mapping[str, Any]) -> None:
            said = own.bind(None, **options)
            said.apply_defaults()
            check(epochs, **{name: said.arguments[name] for name in looked_at})

        @wraps(pruner)
        def checked(course: Course, **options: Any) -> Any:
            fits(course.epochs, options)
            return pruner(course, **options)

        checked.__dict__["fits"] = fits
        return cast(F, checked)

    return mark


class Seen(NamedTuple):
    """A file, and its identity when its content was hashed."""

    path: Path
    identity: tuple[int, ...]
    """See `files.reading.Identity`."""
    sha256: str


@dataclass(frozen=True)
class Stream:
    """Images that are decoded when a batch needs them. An index selects images."""

    files: list[Seen]
    one: tuple[int, int, int]
    """Height, width and channels of every image."""
    read: Callable[[Seen, Tensor], None]
    """Decodes a file into uint8 [H, W, C]. Raises BadInput if it cannot be read or has changed."""
    how: str = ""
    """What the pixels depend on besides the files."""
    crop: Callable[[Seen, Tensor, int], None] | None = None
    """Decodes a random crop of a file, which the number decides, for training."""
    draws: Tensor | None = None
    """The number for each file's crop in this epoch."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return len(self.files), *self.one

    def __getitem__(self, index: Tensor) -> Stream:
        """The images at these indices, or where a boolean mask is true."""
        places = (index.nonzero()[:, 0] if index.dtype == torch.bool else index).tolist()
        draws = None if self.draws is None else self.draws[index]
        return replace(self, files=[self.files[i] for i in places], draws=draws)

    def drawn(self, draw: torch.Generator) -> Stream:
        """The images for an epoch of training, with new random crops if there is `crop`."""
        if self.crop is None:
            return self
        return replace(self, draws=torch.randint(1 << 62, (len(self.files),), generator=draw))

    def fill(self, place: int, row: Tensor) -> None:
        """Decode the image at that index into uint8 [H, W, C]; see `read`."""
        if self.crop is None or self.draws is None:
            self.read(self.files[place], row)
        else:
            self.crop(self.files[place], row, int(self.draws[place]))


@dataclass(frozen=True, eq=False)
class Images:
    """A labelled image set, in memory or streamed from its files.

    `images` is uint8 [N, H, W, C]: channels last, so that a batch is a view in the memory format
    convolutions are fastest in. `labels` [N] are indices of `classes`. `mean` and `std` are per
    channel, of pixels scaled to [0, 1]. Training shifts images by up to `pad` pixels, mirrors them
    at random if `flip`, and crops a stream that has `crop` at random.
    """

    images: Tensor | Stream
    labels: Tensor
    classes: list[str]
    mean: list[float]
    std: list[float]
    pad: int = 0
    flip: bool = False
    notes: tuple[str, ...] = ()
    """Warnings about the images for the user."""

    @property
    def input_shape(self) -> tuple[int, int, int]:
        _, height, width, channels = self.images.shape
        return channels, height, width


@dataclass(frozen=True)
class Clock:
    """The time in a training at which a pruner acts. `step` counts optimizer steps from 1."""

    step: int
    steps_per_epoch: int
    epochs: int

    @property
    def epoch(self) -> int:
        """The epoch this step belongs to, from 1."""
        return (self.step - 1) // self.steps_per_epoch + 1

    @property
    def epoch_ends(self) -> bool:
        return self.step % self.steps_per_epoch == 0


class HoldOut(Protocol):
    """Returns a fraction of every class of the training set as batches, not augmented.

    It is removed from the training set, unless `keep` is set.
    """

    def __call__(self, fraction: float, *, keep: bool = False) -> Batches: ...


@dataclass(frozen=True)
class Course:
    """What a pruner may know and ask for before its training begins."""

    model: nn.Module
    params: Params
    """The weights that it may prune, live (not copies), in module order."""
    epochs: int
    seed: int
    scorer: Callable[[str], Callable[[Mask], Scores]]
    """Gives a method by its name; it scores the current `params`, with masked weights zero."""
    hold_out: HoldOut
    flops: Callable[[], tuple[int, Mapping[str, int]]]
    """FLOPs of one image: in total, and by the weight's name."""
    warn: Callable[[str], None]
    """Warns the user about what is probably not wanted."""


class Pruner:
    """Acts while a model trains. Every hook has a harmless default; override what you need.

    The training loop calls, per step: `weights` before the forward pass, `penalty` to complete
    the loss, `observe` after backward (gradients are in `.grad`), then the optimizer, and `update`.
    Weights that `mask` excludes are set to exactly zero after the optimizer, and again after
    `update` if the mask is a new object. So `update` must not change excluded weights. A weight
    that a new mask brings back starts with zero momentum.
    """

    counted: int | None = None
    """The number of weights that the density is a fraction of; None for all in the mask."""
    scope: str = "global"
    """Which weights compete: all, those of a layer, or by an allocation to layers."""
    relative_lr: float = 1.0
    """Learning rate of `parameters`, as a multiple of the network's."""
    steady: bool = False
    """Whether `weights` and `penalty` compute the same from the same tensors at every step. A GPU
    can then record them once, and replay the recording."""

    def weights(self, params: Params, clock: Clock) -> Params:
        """Substitutes for weights, by name, in the forward pass of training and evaluation."""
        return {}

    def penalty(self, params: Params, clock: Clock) -> Tensor | None:
        """A scalar added to the task loss, or None."""
        return None

    def observe(self, params: Params, clock: Clock) -> None:
        """Read or change the gradients after backward."""

    def update(self, params: Params, clock: Clock) -> None:
        """Change the mask after the optimizer's step."""

    def mask(self, params: Params, clock: Clock) -> Mask:
        """The current mask. A weight whose name is missing is kept whole.

        Must change nothing: it is also called when a run is resumed. A new mask is a new object.
        """
        return {}

    def facts(self) -> dict[str, Any]:
        """Values for the log of the epoch that ends, of JSON's types."""
        return {}

    def parameters(self) -> Iterable[nn.Parameter]:
        """The pruner's own trainable parameters, without weight decay."""
        return ()

    def state_dict(self) -> dict[str, Tensor]:
        """What a resumed run needs to continue exactly."""
        return {}

    def blank_state(self, names: Collection[str]) -> Mapping[str, Tensor]:
        """A state with the names, shapes and types that a saved state with `names` must have.

        By default a new pruner's; override it if other tensors may be added later.
        """
        return self.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore a state from `state_dict`, already checked: like `blank_state`, and finite.

        Raises ValueError for a state that `state_dict` cannot return.
        """
