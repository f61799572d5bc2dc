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
    """The form 'float32 [10, 3, 28, 28]', for messages; of what is no tensor the type's name."""
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
"""Any part of a tensor, flat, or all of it: `def magnitude(weight: Part) -> Tensor`.

For what scores each weight by itself. Then a tensor need not fit into memory.
"""

F = TypeVar("F", bound=Callable[..., Any])


def iterative(rounds: int) -> Callable[[F], F]:
    """Mark a scorer that prunes in that many rounds by default."""

    def mark(scorer: F) -> F:
        scorer.__dict__["rounds"] = rounds
        return scorer

    return mark


def decisive(scorer: F) -> F:
    """Mark a scorer that says by itself what stays: what scores above 0, at whatever density."""
    scorer.__dict__["decisive"] = True
    return scorer


def planned(check: Callable[..., object]) -> Callable[[F], F]:
    """Have a pruner's options checked against the epochs of the training, without a network.

    `check(epochs, *, ...)` takes those of the pruner's options that it looks at, by their names,
    and raises BadUsage. It runs before a study begins, and before the pruner is made.
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
    """A file, and what it was when its content was hashed."""

    path: Path
    identity: tuple[int, ...]
    """What the file was; see `files.reading.Identity`."""
    sha256: str


@dataclass(frozen=True)
class Stream:
    """Images that are decoded when a batch needs them. Indexed, it gives those of these places."""

    files: list[Seen]
    one: tuple[int, int, int]
    """Height, width and channels of every image."""
    read: Callable[[Seen, Tensor], None]
    """Decodes a file into uint8 [H, W, C]. Raises BadInput for one that it cannot, or that is
    another one by now."""
    how: str = ""
    """What the pixels depend on besides the files."""
    crop: Callable[[Seen, Tensor, int], None] | None = None
    """Decodes, likewise, a random part of a file, which the number decides: what training sees."""
    draws: Tensor | None = None
    """The number of each file, of an epoch of training."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return len(self.files), *self.one

    def __getitem__(self, index: Tensor) -> Stream:
        """The images of these places, or of those whose truth value is true."""
        places = (index.nonzero()[:, 0] if index.dtype == torch.bool else index).tolist()
        draws = None if self.draws is None else self.draws[index]
        return replace(self, files=[self.files[i] for i in places], draws=draws)

    def drawn(self, draw: torch.Generator) -> Stream:
        """The images as an epoch of training sees them: random parts, if it sees any."""
        if self.crop is None:
            return self
        return replace(self, draws=torch.randint(1 << 62, (len(self.files),), generator=draw))

    def fill(self, place: int, row: Tensor) -> None:
        """Decode the image of that place into uint8 [H, W, C]; see `read`."""
        if self.crop is None or self.draws is None:
            self.read(self.files[place], row)
        else:
            self.crop(self.files[place], row, int(self.draws[place]))


@dataclass(frozen=True, eq=False)
class Images:
    """A labelled image set, in memory or streamed from its files.

    `images` is uint8 [N, H, W, C]: channels last, so that a batch is a view in the memory format
    convolutions are fastest in. `mean` and `std` are per channel, of pixels scaled to [0, 1].
    Training images are shifted by up to `pad` pixels, and mirrored if `flip`; of a stream that has
    `crop` they are random parts.
    """

    images: Tensor | Stream
    labels: Tensor
    classes: list[str]
    mean: list[float]
    std: list[float]
    pad: int = 0
    flip: bool = False
    notes: tuple[str, ...] = ()
    """What was found with the images that whoever uses them should know."""

    @property
    def input_shape(self) -> tuple[int, int, int]:
        _, height, width, channels = self.images.shape
        return channels, height, width


@dataclass(frozen=True)
class Clock:
    """The time in a training at which a pruner is asked. `step` counts optimizer steps from 1."""

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
    """Gives a fraction of every class of the training set as batches, not augmented.

    It is taken out of the training set, unless `keep` says to leave it there.
    """

    def __call__(self, fraction: float, *, keep: bool = False) -> Batches: ...


@dataclass(frozen=True)
class Course:
    """What a pruner may know and ask for before the training begins that it will act in."""

    model: nn.Module
    params: Params
    """The weights that it may prune, live, in module order."""
    epochs: int
    seed: int
    scorer: Callable[[str], Callable[[Mask], Scores]]
    """A method by its name; it scores `params` as they are, with what a mask excludes zero."""
    hold_out: HoldOut
    flops: Callable[[], tuple[int, Mapping[str, int]]]
    """Operations of one image: in all, and by the name of the weight."""
    warn: Callable[[str], None]
    """Tells the person watching what is probably not wanted."""


class Pruner:
    """Acts while a model trains. Every hook has a harmless default; override what you need.

    The training loop calls, per step: `weights` before the forward pass, `penalty` to complete
    the loss, `observe` after backward (gradients are in `.grad`), then the optimizer, and `update`.
    Whatever `mask` excludes is set to exactly zero after the optimizer, and after `update` if the
    mask is another object then. So what changes weights in `update` leaves excluded ones alone.
    A weight that comes back by a new mask does so with zero momentum.
    """

    counted: int | None = None
    """The number of weights that the density is a fraction of; None for all that the mask
    covers."""
    scope: str = "global"
    """The weights among which it chooses: all, those of a layer, or by an allocation to layers."""
    relative_lr: float = 1.0
    """Learning rate of `parameters`, as a multiple of the network's."""
    steady: bool = False
    """Whether `weights` and `penalty` only compute, from the same tensors in the same way at every
    step: then what they did once can be recorded, and replayed on a GPU without asking them."""

    def weights(self, params: Params, clock: Clock) -> Params:
        """What the forward pass, of an evaluation too, uses in place of weights of these names."""
        return {}

    def penalty(self, params: Params, clock: Clock) -> Tensor | None:
        """A scalar added to the task loss, or None."""
        return None

    def observe(self, params: Params, clock: Clock) -> None:
        """Look at, or change, the gradients after backward."""

    def update(self, params: Params, clock: Clock) -> None:
        """Change the mask, once the optimizer has taken its step."""

    def mask(self, params: Params, clock: Clock) -> Mask:
        """The weights kept now. A name that is missing is kept whole.

        Changes nothing, for it is also asked when a run is resumed. A new mask is a new object.
        """
        return {}

    def facts(self) -> dict[str, Any]:
        """What the log says of the epoch that ends: values that JSON has."""
        return {}

    def parameters(self) -> Iterable[nn.Parameter]:
        """Trainable parameters of the pruner's own; weight decay leaves them alone."""
        return ()

    def state_dict(self) -> dict[str, Tensor]:
        """What a resumed run needs to go on exactly."""
        return {}

    def blank_state(self, names: Collection[str]) -> Mapping[str, Tensor]:
        """What a saved state of these names must be like, in names, shapes and types.

        That of a new pruner; override it where there may be other tensors later on.
        """
        return self.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state_dict` gave; it is like `blank_state`, and finite.

        Raises ValueError for what it cannot have given.
        """
