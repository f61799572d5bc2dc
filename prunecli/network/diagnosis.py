"""Whether a mask leaves a path from input to output, if the network can be built."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from prunecli.errors import PruneError
from prunecli.files.records import Collapse, ModelRecord
from prunecli.files.roles import ALL_OI, Layouts
from prunecli.network.build import UNFIT, at_hand, build_model, built_small, most_values, on_meta
from prunecli.network.collapse import diagnosis
from prunecli.network.layers import prunable
from prunecli.runtime.shortage import raise_shortage
from prunecli.tensors.parts import Parted, parted
from prunecli.types import Mask


def collapse_facts(
    mask: Parted | Mask,
    described: ModelRecord | None,
    shapes: Mapping[str, tuple[int, ...]],
    layouts: Layouts = ALL_OI,
) -> Collapse:
    """The diagnosis of a mask, and of its network if that is known and can be built.

    `shapes` are those of the file that describes the network; they limit the network's size.
    """
    model = None
    if described:
        try:
            model = _covered(parted(mask), described, shapes)
        except (PruneError, *UNFIT) as error:
            raise_shortage(error)
    return diagnosis(mask, model, described.input_shape if described else (), layouts)


def _covered(
    mask: Parted, described: ModelRecord, shapes: Mapping[str, tuple[int, ...]]
) -> nn.Module | None:
    """The described network if the mask and `shapes` fit it; else None."""
    bare = built_small(described, shapes)
    own = {name: tuple(weight.shape) for name, weight in prunable(bare).items()}
    values = sum(tensor.numel() for tensor in bare.state_dict().values())
    fits = mask.shapes.items() <= own.items() and values <= most_values(shapes)
    if not (fits and at_hand(bare, described)):
        return None
    return (build_model(described, by_file=True) if on_meta(bare) else bare).eval()
