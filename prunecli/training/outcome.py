"""The results of a training, besides the weights."""

from __future__ import annotations

from dataclasses import replace

from prunecli.files.parsing import parsed, with_nulls
from prunecli.files.records import MaskRecord, ModelRecord, PrunerRecord
from prunecli.masks.left import density_of
from prunecli.masks.mask import kept_counts
from prunecli.network import coverage
from prunecli.network.diagnosis import collapse_facts
from prunecli.runtime.versions import versions
from prunecli.training.state import TrainingState
from prunecli.types import Mask


def record_of_mask(
    state: TrainingState,
    kept: Mask,
    pruner: PrunerRecord,
    seed: int | None,
    described: ModelRecord | None = None,
) -> MaskRecord:
    """The metadata of a pruner's mask; `described` is the network, if known."""
    options = pruner.options
    left_out = {"ignore": pruner.ignore, "exclude_classifier": pruner.exclude_classifier}
    shapes = {name: tuple(t.shape) for name, t in state.model.state_dict().items()}
    return replace(
        with_nulls(parsed(MaskRecord, {}), "schedule", "asked", "ties"),
        method=pruner.name,
        options={k: v for k, v in options.items() if k not in ("density", "scope")},
        scope=state.pruner.scope,
        rounds=1,
        seed=seed,
        asked=options.get("density"),
        count="scored",
        total=state.pruner.counted or sum(bits.numel() for bits in kept.values()),
        kept=sum(kept_counts(kept).values()),
        left_out={name: value for name, value in left_out.items() if value},
        density=density_of(kept),
        collapse=collapse_facts(kept, described, shapes),
        left_whole=coverage.of_model(state.model, kept),
        versions=versions(),
    )
