"""Loading another program's weights into a network with the same layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Literal

from torch import Tensor, nn

from prunecli.errors import Mismatch, some
from prunecli.network.layers import classifier
from prunecli.network.weights import check_names, forms_of, load_weights
from prunecli.runtime.progress import Progress

Head = Literal["kept", "fitting", "new"]
"""The last layer: as given; new if it does not fit; or always new."""
WRAPPERS = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
"""Names that torch inserts for modules that it wraps."""
COUNTED = {"total_ops", "total_params"}
"""Buffers that thop adds to a module when it counts operations."""
TRACKED = "num_batches_tracked"
MEND = "is it for another --model or --model-opt, or do names have a prefix (--strip-prefix)?"


def adopt(
    model: nn.Module,
    given: Mapping[str, Tensor],
    label: str,
    progress: Progress,
    *,
    prefix: str | None = None,
    head: Head = "kept",
) -> None:
    """Load weights after `fitted`, and report the changes. Raises Mismatch."""
    tensors, notes = fitted(model, given, label, prefix=prefix, head=head)
    try:
        check_names(model, forms_of(tensors), label)
    except Mismatch as error:
        raise Mismatch(f"{error}; {MEND}") from None
    load_weights(model, tensors, label)
    for note in notes:
        progress.say(f"{label}: {note}")


def fitted(
    model: nn.Module,
    given: Mapping[str, Tensor],
    label: str,
    *,
    prefix: str | None = None,
    head: Head = "kept",
) -> tuple[dict[str, Tensor], list[str]]:
    """The weights under the network's own names, and notes on the changes.

    With `prefix`, only names that begin with it count, and lose it. Otherwise a common prefix of
    the network's names is removed. Missing batch counts start at 0, and operation counters are left
    out. A new last layer keeps the network's own values; tensors that the network lacks, such as
    auxiliary classifiers, are then left out. Raises Mismatch for a missing or ambiguous prefix, or
    a last layer for other classes.
    """
    own = model.state_dict()
    notes: list[str] = []
    found = _under(given, prefix, label, notes) if prefix is not None else dict(given)
    if wrapped := sorted({part for name in found for part in name.split(".")} & WRAPPERS):
        notes.append(f"removed {some(wrapped)} from the names")
        found = {_unwrapped(name): tensor for name, tensor in found.items()}
    if prefix is None and (common := _prefix(own, found, label)):
        notes.append(f"removed the prefix {common!r} from the names")
        found = {name.removeprefix(common): tensor for name, tensor in found.items()}
    _leave_out([n for n in found if n.rpartition(".")[2] in COUNTED], own, found, notes)
    if lost := [n for n in own if n.endswith(TRACKED) and n not in found]:
        notes.append(f"{len(lost)} {TRACKED} are missing and start at 0")
        found |= {name: own[name] for name in lost}
    _with_head(model, own, found, label, head, notes)
    return found, notes


def _under(
    given: Mapping[str, Tensor], prefix: str, label: str, notes: list[str]
) -> dict[str, Tensor]:
    start = f"{prefix.rstrip('.')}."
    found = {name.removeprefix(start): t for name, t in given.items() if name.startswith(start)}
    if not found:
        firsts = sorted({f"{name.partition('.')[0]}." for name in given})
        raise Mismatch(f"{label}: no name begins with {start!r}, they begin with {some(firsts)}")
    if others := [name for name in given if not name.startswith(start)]:
        notes.append(f"left out {some(others)}, which do not begin with {start!r}")
    return found


def _unwrapped(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def _prefix(own: Collection[str], names: Collection[str], label: str) -> str:
    """The prefix under which most of the network's names are found; "" if no prefix does better.

    Raises Mismatch if several do equally well, such as weights and their moving average.
    """
    before = {
        name.removesuffix(known)
        for known in sorted(own, key=len)[-8:]
        for name in names
        if name.endswith(f".{known}")
    }
    there = set(names)
    fits = {start: sum(start + name in there for name in own) for start in {"", *before}}
    most = max(fits.values())
    best = sorted(start for start in fits if fits[start] == most)
    if "" in best:
        return ""
    if len(best) > 1:
        raise Mismatch(
            f"{label}: the prefixes {some(best)} fit equally; choose one with --strip-prefix"
        )
    return best[0]


def _leave_out(
    names: Collection[str],
    own: Collection[str],
    found: dict[str, Tensor],
    notes: list[str],
) -> None:
    """Remove these names from `found`, except those of the network."""
    if out := [name for name in names if name not in own]:
        counts = Counter(name.rpartition(".")[2] for name in out)
        what = f"{len(out)} tensors" if len(counts) > 3 else f"{len(out)} {' and '.join(counts)}"
        notes.append(f"left out {what} that the network does not have: {some(out)}")
    for name in out:
        del found[name]


def _with_head(
    model: nn.Module,
    own: Mapping[str, Tensor],
    found: dict[str, Tensor],
    label: str,
    head: Head,
    notes: list[str],
) -> None:
    """Replace the last layer with the network's own if it should be new."""
    layer = (classifier(model) or "").removesuffix("weight").removesuffix(".")
    parts = [name for name in own if name.rpartition(".")[0] == layer] if layer else []
    odd = [n for n in own if n not in found or found[n].shape != own[n].shape]
    others = bool(set(odd) - set(parts))
    if head == "kept":
        if parts and odd and not others:
            classes = own[parts[0]].shape[0]
            raise Mismatch(
                f"{label}: its last layer, {layer!r}, is not for {classes} classes; "
                "initialise a new one with --new-head"
            )
        return
    if head == "new" and own and not parts:
        raise Mismatch(f"{label}: the network has no last linear layer to initialise anew")
    if parts and (head == "new" or (odd and not others)):
        notes.append(f"initialised {layer!r} anew, for the classes of the data")
        found |= {name: own[name] for name in parts}
    _leave_out(list(found), own, found, notes)
