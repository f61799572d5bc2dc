from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from prunecli.errors import BadUsage
from prunecli.masks.mask import exact_count
from prunecli.masks.scopes import apportion, water_filled
from prunecli.masks.select import keep_highest
from prunecli.pruners._masked import Masked, check_density, check_left
from prunecli.types import Clock, Course, Params, Pruner, Scores, planned

Importance = Literal["printed", "mean", "none"]
Momentum = Literal["mean", "max", "ema"]
LEAST = 10  # snapshots before the first pruning, unless the window is shorter


def check(
    epochs: int,
    *,
    density: float | None,
    threshold: float | None,
    importance: Importance | None,
    window: int,
    start: int | None,
    every: int,
    events: int | None,
) -> None:
    if (density is None) == (threshold is None):
        raise BadUsage("weightmom needs either a density or a threshold")
    if density is not None:
        check_density(density)
    if threshold is not None and not threshold > 0:
        raise BadUsage(f"threshold={threshold:g}: it must be above 0")
    if threshold is not None and importance is not None:
        raise BadUsage(f"importance={importance} is for a density: a threshold leaves no quotas")
    pruned_at(epochs, window, start, every, events)


def pruned_at(epochs: int, window: int, start: int | None, every: int, events: int | None) -> range:
    """The epochs after which weights are pruned; see `weightmom`."""
    if window < 1 or every < 1 or (events is not None and events < 1):
        raise BadUsage("weightmom needs window, every and events of 1 or more")
    if window > epochs:
        raise BadUsage(f"a window of {window} epochs is longer than the {epochs} of training")
    first = window if start is None else start
    if first < min(window, LEAST):
        raise BadUsage(f"start={first}: the window must hold {min(window, LEAST)} epochs by then")
    if events is None:
        events = max(1, int(0.75 * epochs - first) // every + 1)
    last = first + (events - 1) * every
    if last > epochs:
        raise BadUsage(
            f"the last weights go at the end of epoch {last}, but training ends after "
            f"{epochs}; lower start, every or events"
        )
    return range(first, last + 1, every)


@planned(check)
def weightmom(
    course: Course,
    *,
    density: float | None = None,
    threshold: float | None = None,
    importance: Importance | None = None,
    momentum: Momentum | None = None,
    window: int = 15,
    start: int | None = None,
    every: int = 5,
    events: int | None = None,
) -> Pruner:
    """Iterative pruning by the momentum of magnitudes: to a density, or below a threshold.

    Weights are judged by their magnitude at the ends of the last `window` epochs:

        m = mean |w_t|  (`momentum=mean`),  max |w_t|  (`max`: prunes consistently low weights),
        m <- (1 - 1/window) m + |w_t| / window  (`ema`, which needs only one copy)

    With a `density` (default momentum: `mean`), weights rank within their layer. Layer l of L
    (from 1) with W_l weights keeps K_l = min(W_l, c I_l) of them, at least one, with c such that
    the K_l add up to round(density * sum W). As the paper prints eq. 2, its sizes cancel:

        I_l = sum W / l  (`importance=printed`),   W_l / (l mean W)  (`mean`, as its prose says)

    `none` ranks all weights together; the default is `printed`. With a `threshold` (default
    momentum: `max`), weights with m < threshold are pruned, and the final density is open.

    Weights are pruned at the end of epoch `start` and then every `every` epochs, `events` times;
    the density after the k-th event is density^(k / events). `start` defaults to the length of the
    window, `events` to as many as fit into three quarters of the training. Up to `start`, training
    is the same as without pruning.

    Raises BadUsage for a schedule that does not fit into the training, and unless exactly one of
    density and threshold is given.

    Source: Johnson, Tang & Samudrala, WeightMom, 2024, section III, eqs. 1 and 2
    """
    importance = importance or "printed"
    momentum = momentum or ("mean" if threshold is None else "max")
    if density is not None:
        least = 1 if importance == "none" else len(course.params)
        check_left(density, course.params, least)
    epochs = pruned_at(course.epochs, window, start, every, events)
    return WeightMom(course, density, threshold, importance, momentum, window, epochs)


class WeightMom(Masked):
    def __init__(
        self,
        course: Course,
        density: float | None,
        threshold: float | None,
        importance: Importance,
        momentum: Momentum,
        window: int,
        epochs: range,
    ) -> None:
        super().__init__(course)
        self.density, self.threshold = density, threshold
        self.importance, self.momentum = importance, momentum
        self.window, self.epochs = window, epochs
        copies = 1 if momentum == "ema" else window
        self.past = {n: w.new_zeros((copies, *w.shape)) for n, w in self.params.items()}
        self.seen = 0

    def update(self, params: Params, clock: Clock) -> None:
        if not clock.epoch_ends:
            return
        self._remember()
        if clock.epoch not in self.epochs:
            return
        scores = self.left(self._scores())
        if self.threshold is not None:
            self.keep({name: score >= self.threshold for name, score in scores.items()})
        if self.density is not None:
            done = self.epochs.index(clock.epoch) + 1
            self._prune(scores, self.density ** (done / len(self.epochs)))

    @torch.no_grad()
    def _remember(self) -> None:
        for name, weight in self.params.items():
            if self.momentum == "ema" and self.seen:
                self.past[name][0].lerp_(weight.abs(), 1 / self.window)
            else:
                self.past[name][self.seen % len(self.past[name])] = weight.abs()
        self.seen += 1

    def _prune(self, scores: Scores, density: float) -> None:
        keep = exact_count(density, sum(kept.numel() for kept in self.kept.values()))
        if self.importance == "none":
            self.keep(keep_highest(scores, keep))
            return
        room = {name: int(kept.sum()) for name, kept in self.kept.items()}
        quota = quotas({n: k.numel() for n, k in self.kept.items()}, room, keep, self.importance)
        self.keep({n: keep_highest({n: scores[n]}, k)[n] for n, k in quota.items()})

    def _scores(self) -> Scores:
        full = {name: past[: self.seen] for name, past in self.past.items()}
        if self.momentum == "max":
            return {name: past.amax(0) for name, past in full.items()}
        return {name: past.mean(0) for name, past in full.items()}

    def state_dict(self) -> dict[str, Tensor]:
        past = {f"past/{name}": past for name, past in self.past.items()}
        return super().state_dict() | past | {"seen": torch.tensor(self.seen)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        super().load_state_dict(state)
        for name, past in self.past.items():
            past.copy_(state[f"past/{name}"])
        self.seen = int(state["seen"])
        if self.seen < 0:
            raise ValueError("it has seen a negative number of epochs")


def quotas(
    sizes: Mapping[str, int], room: Mapping[str, int], keep: int, importance: Importance
) -> dict[str, int]:
    """K_l: how many weights each layer keeps, at least one; they add up to `keep`."""
    total, count = sum(sizes.values()), len(sizes)
    important = {
        name: total / place if importance == "printed" else size * count / (place * total)
        for place, (name, size) in enumerate(sizes.items(), 1)
    }
    return apportion(water_filled(important, sizes, keep), room, keep, least=1)
