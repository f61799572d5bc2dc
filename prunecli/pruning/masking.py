"""Making a mask: the settings are checked first, then the mask is made."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from prunecli.errors import BadUsage, Mismatch, some
from prunecli.files.artifacts import MaskFile, kind_of
from prunecli.files.atomic import refusals
from prunecli.files.bits import Packed
from prunecli.files.records import CheckpointRecord, Described, MaskRecord, ModelRecord, TiesRecord
from prunecli.files.roles import layouts_of
from prunecli.files.tensors import TensorFile
from prunecli.images.source import GivenImages
from prunecli.masks.critical import critical
from prunecli.masks.left import density_from
from prunecli.masks.mask import density
from prunecli.masks.select import Ties
from prunecli.network import coverage
from prunecli.network.diagnosis import collapse_facts
from prunecli.plugins.trust import may_follow
from prunecli.pruning.allowance import Allowance
from prunecli.pruning.selection import Selection, check_told, pruning
from prunecli.scoring.scored import Scored, names_of, record_of_scores
from prunecli.settings.mask import RULES
from prunecli.settings.run import RunOptions
from prunecli.settings.scoring import ScoringSettings
from prunecli.settings.table import flag_said
from prunecli.tensors.parts import Parted

REMOVED = "an earlier mask has removed all of its weights"


@dataclass(frozen=True)
class Masking:
    """A mask to make from scores, or from a checkpoint that is scored; all checks have passed."""

    file: TensorFile
    scoring: ScoringSettings
    selection: Selection
    scorer: Scored | None
    names: list[str]
    allowance: Allowance
    before: MaskFile | None
    run: RunOptions

    @classmethod
    def of(
        cls,
        file: TensorFile,
        selection: Selection,
        scoring: ScoringSettings,
        before: MaskFile | None,
        run: RunOptions,
        network: nn.Module | None = None,
        images: GivenImages | None = None,
    ) -> Masking:
        """The mask to make from a file. Raises BadUsage or Mismatch if that is impossible.

        A `before` mask fits the file; see `fitting`. For `network` and `images` see `Scored`.
        """
        _check_asked(file, selection, scoring)
        is_checkpoint = kind_of(file) == "checkpoint"
        scorer = Scored(file, scoring, run, network, images) if is_checkpoint else None
        names = names_of(scoring, file)
        if before is not None:
            _check_same(before, names, file.label)
        selection = selection.of(scorer, {name: file.shapes[name] for name in names}, file)
        allowance = Allowance.of(file, names, selection)
        if before is not None and selection.pattern is None and not selection.decided:
            _check_room(before, allowance.density or 1.0)
        if scorer and before is None and not selection.decided:
            _warn_if_masked(file, run)
        return cls(file, scoring, selection, scorer, names, allowance, before, run)

    def made(self, folder: Path, label: str) -> tuple[Packed, MaskRecord]:
        """The mask and its metadata.

        Raises Mismatch where no weight is left, or none in a layer that must have some. A large
        mask goes to a file without a name in `folder`; see `Packed`. `label` is what the output
        is called.
        """
        file, selection, run = self.file, self.selection, self.run
        file.hash_ahead()
        kept, ties = self._selected(folder, label)
        if not any(kept.kept.values()):  # as a pattern leaves of scores that are all -inf
            of_zeros = selection.decided and self.before is None
            why = "its weights are all zero" if of_zeros else REMOVED
            raise Mismatch(f"{file.label}: {why}")
        if selection.pattern is not None:
            check_told(ties, file)
        described = file.says(Described).model
        _warn_if_unknown(described, run)
        layouts = layouts_of(file, self.names)
        record = replace(
            self._record(kept),
            ties=TiesRecord(equal=ties.equal, kept=ties.kept),
            collapse=collapse_facts(kept, described, file.shapes, layouts),
        )
        _report(record, selection, run)
        _warn_of_ties(ties, sum(kept.kept.values()), run)
        if record.left_whole:
            coverage.tell(record.left_whole, run.progress)
        return kept, record

    def _record(self, kept: Packed) -> MaskRecord:
        """The metadata of the mask: how it was selected, and the metadata of its scores."""
        selection, allowance, before = self.selection, self.allowance, self.before
        said = (self.file, self.scoring, self.names)
        scores = self.scorer.record() if self.scorer else record_of_scores(*said)
        left = sum(kept.kept.values()) + allowance.others
        sizes = {name: math.prod(shape) for name, shape in kept.shapes.items()}
        own = {
            "left_out": {**(scores.left_out or {}), **selection.left_out},
            "mask": before.file.sha256 if before else None,
        }
        return MaskRecord(
            **scores.part(MaskRecord) | own,
            scope=selection.scope,
            rounds=selection.rounds,
            schedule=selection.schedule if selection.rounds != 1 else None,
            critical=selection.is_critical,
            rule=None if selection.rule == RULES[0] else selection.rule,
            asked=selection.density or left / allowance.whole,
            count=selection.count,
            total=allowance.whole,
            kept=left,
            density=density_from(kept.kept, sizes),
            scores=None if self.scorer else self.file.sha256,
            ties=None,
            collapse=None,
            shapes=None,
        )

    def _selected(self, folder: Path, label: str) -> tuple[Packed, Ties]:
        selection = self.selection
        pruned = pruning(self.scorer, self.file, self.names, selection, self.before, self.run)
        shapes = {name: self.file.shapes[name] for name in self.names}
        with refusals(label):
            found = (
                pruned(self.allowance.density or 1.0)
                if not selection.is_critical
                else critical(pruned, shapes, selection.allocation, selection.rounds)
            )
            return Packed(found, folder), found.ties


def _check_asked(file: TensorFile, selection: Selection, scoring: ScoringSettings) -> None:
    """Raise BadUsage for a checkpoint without a method, or for scores with one."""
    if kind_of(file) == "checkpoint":
        if scoring.method is None:
            raise BadUsage(
                f"{file.label}: it is a checkpoint; choose a method to score it with --method"
            )
        return
    if scoring.method is not None or (selection.rounds or 1) > 1:
        raise BadUsage(
            f"{file.label}: it holds scores, but --method and --rounds need the checkpoint"
        )
    idle = flag_said(scoring, "options") or flag_said(scoring.data, "dataset")
    if idle:
        raise BadUsage(f"{file.label}: it holds scores; {idle} needs a checkpoint")


def _check_room(before: Parted, asked: float) -> None:
    """Raise BadUsage unless the earlier mask keeps at least the requested density."""
    if asked > density(before):
        raise BadUsage(
            f"the earlier mask already keeps less than a density of {asked:g}; set a lower density"
        )


def _warn_if_masked(file: TensorFile, run: RunOptions) -> None:
    if file.says(CheckpointRecord).mask:
        run.progress.warn(
            "the checkpoint is masked but no --mask was given: pruned weights count as kept"
        )


def _warn_if_unknown(described: ModelRecord | None, run: RunOptions) -> None:
    """Warn that a network is not analysed, if only a file names its code."""
    if described and not may_follow("models", described.name, by_file=True):
        name = described.name
        run.progress.warn(
            f"only a file names the network {name!r}, so it is not built and paths from "
            f"input to output are not checked (--trust {name})"
        )


SEEN = 0.01
"""The number of left-out ties, as a fraction of the kept weights, that gives a warning."""


def _check_same(before: Parted, names: list[str], label: str) -> None:
    """Raise Mismatch unless the earlier mask covers exactly the scored weights.

    Otherwise weights that the new mask does not cover would grow back.
    """
    if odd := sorted(before.shapes.keys() ^ set(names)):
        raise Mismatch(f"{label}: {some(odd)} are in only one of the scores and --mask")


def _report(record: MaskRecord, selection: Selection, run: RunOptions) -> None:
    """Report the compression reached, and warn of dead layers and missing paths."""
    assert record.collapse and record.total and record.kept and record.asked, "as was written"
    collapse, total, left = record.collapse, record.total, record.kept
    ratio = total / left
    run.progress.detail(
        f"kept {left:,} of {total:,}: {ratio:.6g}x, compression error "
        f"{ratio * record.asked - 1:+.2g}; highest without a dead layer: "
        f"{collapse.max_compression:.6g}x of the scored weights"
    )
    if (effective := collapse.effective_density) is not None:
        run.progress.detail(f"density of the weights on live paths: {effective:.6g}")
    if selection.is_critical:
        run.progress.say(f"critical compression: {ratio:.6g}x")
    if dead := collapse.dead_layers:
        through = {
            True: ": only shortcuts bypass them",
            False: ": no path leads from input to output",
            None: "",
        }
        message = f"no weight is left in {some(dead)}{through[collapse.live_path]}"
        if not selection.allow_dead_layers:
            raise Mismatch(f"{message}; raise the density, or choose another --scope or --method")
        run.progress.warn(message)
    elif collapse.live_path is False:
        run.progress.warn("no path of kept weights leads from input to output")


def _warn_of_ties(ties: Ties, kept: int, run: RunOptions) -> None:
    """Warn if the choice among equal scores affects more than 1% of the kept weights."""
    if ties.left_out > SEEN * kept:
        run.progress.warn(
            f"{ties.equal:,} scores tie at the threshold, and the first {ties.kept:,} of them were "
            "kept, which is arbitrary; choose another --method or density"
        )
