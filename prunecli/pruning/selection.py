"""The selection of a mask: in one round, in several, or by a pattern."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from prunecli.errors import BadUsage, Mismatch
from prunecli.files.artifacts import ScoresFile
from prunecli.files.roles import layouts_of
from prunecli.files.tensors import TensorFile
from prunecli.masks.mask import dead_layers, density
from prunecli.masks.patterns import Pattern, Patterned
from prunecli.masks.rounds import densities
from prunecli.masks.scopes import Scope, allocation
from prunecli.masks.select import Positive, Tied, Ties, choose
from prunecli.masks.targets import left_in
from prunecli.masks.threshold import Threshold
from prunecli.plugins.resolve import resolve
from prunecli.scoring.scored import Scored, first_layer
from prunecli.settings.mask import COUNTS, ROUND_SCHEDULES, RULES, SCOPES, MaskSettings
from prunecli.settings.run import RunOptions
from prunecli.tensors.parts import InMemory, Parted, in_memory


@dataclass(frozen=True)
class Selection:
    """How many weights to keep, and how to select them; derived from the settings.

    `density` counts over the scored weights, or with `count="model"` over all parameters of the
    network, those that are not scored being kept. None asks for the critical compression. With a
    pattern, that decides both, and a method that is `decisive` decides all. `dense` patterns name
    what the scope `uniform` keeps whole; without any it is the network's first layer.
    """

    density: float | None
    scope: str = SCOPES[0]
    rounds: int | None = None
    schedule: str | None = None
    allow_dead_layers: bool = True
    count: str = COUNTS[0]
    pattern: Pattern | None = None
    dense: tuple[str, ...] = ()
    whole: tuple[str, ...] | None = None
    """The names that come of `dense`."""
    decided: bool = False
    """Whether the method decides which weights to keep; `density` is then None."""
    rule: str = RULES[0]

    @property
    def is_critical(self) -> bool:
        return self.density is None and not self.decided

    @classmethod
    def asked(cls, settings: MaskSettings) -> Selection:
        """The requested selection, before any file is read.

        Raises BadUsage for invalid settings.
        """
        method = settings.scoring.method
        decides = bool(method) and resolve("scorers", str(method), by_file=False).decides
        return cls(
            settings.asked(decides),
            settings.scope,
            settings.rounds,
            settings.schedule,
            not settings.no_dead_layers,
            settings.count or COUNTS[0],
            None if settings.pattern is None else Pattern.parse(settings.pattern),
            settings.dense,
            rule=settings.rule,
        )

    def of(
        self, scorer: Scored | None, names: Mapping[str, tuple[int, ...]], file: TensorFile
    ) -> Selection:
        """The selection, completed from the method, the file and the pattern.

        Raises Mismatch if the pattern does not fit, and BadUsage for options without effect.
        """
        if scorer and scorer.plugin.decides:
            return replace(self, rounds=1, density=None, decided=True)
        if self.dense and self.scope != "uniform":
            raise BadUsage("--dense needs --scope uniform")
        if self.pattern is not None:
            self.pattern.check(names, layouts_of(file, names))
            return replace(self, rounds=1, density=self.pattern.density, scope=str(self.pattern))
        rounds = self.rounds or (scorer.plugin.rounds if scorer else 1)
        if self.schedule and not self.rounds and rounds == 1:
            raise BadUsage("--schedule needs several rounds; set --rounds")
        whole = _whole(file, [*names], self.dense) if self.scope == "uniform" else None
        return replace(
            self, rounds=rounds, schedule=self.schedule or ROUND_SCHEDULES[0], whole=whole
        )

    @property
    def allocation(self) -> Scope | None:
        return allocation(self.scope, self.whole)

    def cut(self, scores: Parted, density: float) -> Tied:
        """The mask of scores at a density, by the scope and the rule."""
        exact = choose(scores, density, self.scope, self.whole)
        return exact if self.rule == RULES[0] else Threshold(exact)

    @property
    def left_out(self) -> dict[str, Any]:
        """The given options that exclude weights, for the metadata."""
        return {"dense": list(self.dense)} if self.dense else {}


def _whole(file: TensorFile, names: list[str], dense: tuple[str, ...]) -> tuple[str, ...]:
    """The weights that `uniform` does not prune. Raises BadUsage if the order is unknown."""
    if dense:
        others = left_in(names, None, file.label, dense)
        return tuple(name for name in names if name not in others)
    if (first := first_layer(file)) is None:
        raise BadUsage(
            f"{file.label}: its first layer, which --scope uniform does not prune, is not known; "
            "name it with --dense PATTERN"
        )
    return (first,)


def pruning(
    scorer: Scored | None,
    file: TensorFile,
    names: list[str],
    selection: Selection,
    before: Parted | None,
    run: RunOptions,
) -> Callable[[float], Tied]:
    """The mask at a density of the scored weights. What is scored once is scored now.

    In the search for the critical compression, rounds stop at a mask with a dead layer.
    """
    if scorer is not None and selection.rounds != 1:
        return lambda density: _in_rounds(scorer, density, selection, before, run)
    scores = scorer(before) if scorer else ScoresFile(file, before, names)
    if selection.decided:
        return lambda _: Positive(scores)
    if (pattern := selection.pattern) is not None:
        return lambda _: Patterned(scores, pattern, layouts_of(file, names))
    return lambda density: _told(selection.cut(scores, density), file)


def _told(mask: Tied, file: TensorFile) -> Tied:
    check_told(mask.ties, file)
    return mask


def check_told(ties: Ties, file: TensorFile) -> None:
    """Raise Mismatch if the scores did not influence the mask."""
    if ties.are_all:
        raise Mismatch(
            f"{file.label}: all {ties.scores:,} scores are equal to all that they compete "
            "with, so they do not rank the weights; use another --method"
        )


class Last(InMemory):
    """The mask of the last round, with the ties of the round that had the most."""

    def __init__(self, mask: Mapping[str, Any], ties: Ties) -> None:
        super().__init__(mask)
        self.ties = ties


def _in_rounds(
    scorer: Scored, lowest: float, selection: Selection, before: Parted | None, run: RunOptions
) -> Last:
    kept, last = before, None
    steps = densities(lowest, selection.rounds or 1, selection.schedule or ROUND_SCHEDULES[0])
    for done, target in enumerate(steps, 1):
        if kept is not None and target > density(kept):
            continue  # the mask before is sparser than this round's target
        chosen = selection.cut(scorer(kept), target)
        if last is None:  # later, all are equal once nothing gets through the network
            check_told(chosen.ties, scorer.file)
        ties = [chosen.ties, *([last.ties] if last else [])]
        kept = last = Last(in_memory(chosen), max(ties, key=lambda each: each.left_out))
        run.progress.advance("pruning rounds", done, len(steps))
        if selection.is_critical and dead_layers(in_memory(last)):
            break  # what is empty stays so, and that is all that the search asks
    assert last is not None, "the last round is at the density asked for, which `before` can give"
    return last
