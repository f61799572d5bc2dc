"""The role of each tensor of a file, inferred from names, types, shapes and neighbours.

Without a network, this relies on the names that PyTorch's modules and well-known packages use.
Tensors of unknown role are not pruned, and are reported.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeAlias

from prunecli.errors import BadInput
from prunecli.files.header import FLOATS
from prunecli.files.records import CheckpointRecord, Described
from prunecli.files.tensors import Form, TensorFile

Layouts: TypeAlias = Mapping[str, str | None]
"""The layout of each weight; `oi` if it is missing. See `layout`."""
ALL_OI: Layouts = {}


class Role(NamedTuple):
    """What a tensor is: `what` names its kind in the plural, with any advice."""

    what: str
    pruned: bool = False
    counts: bool = True
    """Whether its values are weights of the network."""


LAYER = Role("weights of layers", pruned=True)
EXPERTS = Role("weights of experts", pruned=True)
VECTOR = Role("vectors")
BIAS = Role("biases")
GAIN = Role("gains of normalisations")
TABLE = Role("look-up tables")
TIED = Role("equal to a look-up table")
ROUTER = Role("routers of experts, of which every weight decides")
UNNAMED = Role("not named `.weight`")
UNLISTED = Role("not what their checkpoint calls prunable")
WEIGHT_NORM = Role("parts of a weight norm (make it one weight: remove_weight_norm)")
SPECTRAL_NORM = Role("parts of a spectral norm (make it one weight: remove_spectral_norm)")
PARAMETRIZED = Role("parts of a parametrization (make it one weight: remove_parametrizations)")
TORCH_PRUNED = Role("parts of torch.nn.utils.prune's pruning (make it one weight: prune.remove)")
ADAPTER = Role("factors of an adapter (merge it into the weights first)")
OPTIMIZER = Role("of an optimizer's state", counts=False)
AVERAGE = Role("of a moving average of the weights", counts=False)
STATISTIC = Role("running statistics", counts=False)
SCALE = Role("scales of quantised weights", counts=False)
MASK = Role("masks", counts=False)
NO_FLOATS = Role("of types that are no floats of two bytes or more", counts=False)

SMALL_FLOATS = {"F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ"}
"""Floats that are scaled per tensor or block, so magnitudes of different tensors do not compare.
Unlike F8_E8M0 they have a zero, so --targets may prune them."""

# The first pattern that matches decides.
BY_NAME = [
    (r"(^|\.)(optim|optimizers?|optimizer_states?)\.|^state\.\d+\.", OPTIMIZER),
    (r"(^|[._])(exp_avg(_sq)?|max_exp_avg_sq|momentum_buffer|square_avg)([._]|$)", OPTIMIZER),
    (r"(^|\.)(ema|ema_model|model_ema|ema_state_dict|state_dict_ema|swa_model)\.", AVERAGE),
    (r"(^|\.)(running_(mean|var)|num_batches_tracked|cluster_size|embed_avg|inv_freq)$", STATISTIC),
    (r"(^|\.)parametrizations\.", PARAMETRIZED),
    (r"(^|[._])(lora_(\w+_)?(A|B|down|up)|hada_w\d(_[ab])?|lokr_w\d(_[ab])?)(\.|$)", ADAPTER),
    (r"weight_scale(_inv|_2)?$|\.(scale_weight|(in|out)put_scale|[kqv]_scale|SCB)$", SCALE),
    (r"(^|[._])(scales|qzeros|absmax|zero_points?)$", SCALE),
    (r"(^|[._])(attn_|attention_|causal_)?mask$|(^|\.)attn\.masked_bias$", MASK),
]
NAMED = [(re.compile(pattern), role) for pattern, role in BY_NAME]

PAIRS = [
    (r"weight_(g|v)$", ("weight_g", "weight_v"), WEIGHT_NORM),
    (r"weight_(orig|u|v)$", ("weight_orig", "weight_u"), SPECTRAL_NORM),
    (r"(\w+)_(orig|mask)$", (r"\1_orig", r"\1_mask"), TORCH_PRUNED),
]
"""The end of a name, and the ends that must exist beside it."""

WEIGHT = re.compile(r"(^|\.)(weight|(in|q|k|v)_proj_weight|weight_(ih|hh|hr)(_l\d+)?(_reverse)?)$")
"""Names that Conv, Linear, MultiheadAttention, RNN, LSTM and GRU give their weights."""
WRAPPED = re.compile(r"\.(base_layer|original_module|modules_to_save|default|module)(?=\.)")
TABLES = re.compile(
    r"(^|_)(\w*embed(s|der|ding|dings)?|embd|embs?|wte|wpe|codebooks?|codevectors|rel_pos|positional"
    r"|relative_attention_bias)(_|$)|^shared$|(^|_)(tokens?|table)$"
)
PROJECTIONS = re.compile(
    r"(^|_)(proj|projection|projector|linear|dense|mapping|fc|conv|mlp)\d*(_|$)"
)
NORMS = re.compile(r"(^|_)(\w*norm\w*|ln|bn|gn)(_?[\da-z])?$")
GATES = re.compile(r"(^|\.)(router(\.\w+)?|gate|\w*gate_inp)\.weight$")
IN_EXPERTS = re.compile(r"(^|\.)experts\.(\w+\.)*\w+$|_exps\.weight$")
CONV1D = re.compile(r"(^|\.)(c_attn|c_proj|c_fc|q_attn)\.weight$")
"""Weights of GPT-2's Conv1D, a linear layer with weights [inputs, outputs]."""


def roles_of(file: TensorFile) -> dict[str, Role]:
    """The role of each tensor of a checkpoint. prunecli's own files list the prunable weights.

    In other files, a weight that is tied to a look-up table gets the role TIED. It is tied if the
    header says so (safetensors keeps one of several tied tensors, and lists the others as
    `name: kept`), or if both are stored and equal.
    """
    return file.once(_roles_of)


def _roles_of(file: TensorFile) -> dict[str, Role]:
    found = roles(file.forms)
    if file.record is not None:
        listed = set(file.says(CheckpointRecord).prunable or ())
        return {
            name: LAYER if name in listed else UNLISTED if role.pruned else role
            for name, role in found.items()
        }
    tied = {kept for name, kept in file.metadata.items() if _is_table(owner(name))}
    tables = [name for name, role in found.items() if role is TABLE]
    for name, role in found.items():
        if role.pruned and (name in tied or any(file.equal(name, table) for table in tables)):
            found[name] = TIED
    return found


def roles(tensors: Mapping[str, Form]) -> dict[str, Role]:
    """The role of each tensor. If only a moving average could be pruned, it is the weights."""
    found = {name: _role(name, tensors) for name in tensors}
    if any(role.pruned for role in found.values()) or AVERAGE not in found.values():
        return found
    return {
        name: _role(name, tensors, averaged=False) if role is AVERAGE else role
        for name, role in found.items()
    }


def _role(name: str, tensors: Mapping[str, Form], averaged: bool = True) -> Role:
    own = tensors[name]
    told = _by_pair(name, tensors) or _by_name(name, averaged)
    if told is not None:
        return told
    if own.dtype not in FLOATS:
        packed = len(own.shape) > 1 and (own.dtype in {"I8", "U8"} or "F" in own.dtype)
        is_weight = own.dtype != "BOOL" and (packed or "weight" in name)
        return Role(own.dtype) if is_weight else NO_FLOATS
    return _by_shape(name, tensors)


def _by_name(name: str, averaged: bool) -> Role | None:
    found = (role for pattern, role in NAMED if pattern.search(name))
    return next((role for role in found if averaged or role is not AVERAGE), None)


def _by_pair(name: str, tensors: Mapping[str, Form]) -> Role | None:
    for pattern, others, role in PAIRS:
        if match := re.search(pattern, name):
            beside = (name[: match.start()] + match.expand(other) for other in others)
            if all(other in tensors for other in beside):
                return role
    return None


def _by_shape(name: str, tensors: Mapping[str, Form]) -> Role:
    """The role of floats of two bytes or more, by their shape."""
    shape, bias = tensors[name].shape, _bias(name, tensors)
    feeds = bias is not None and bias == shape[:1]  # one value per output, as in a layer
    is_weight = WEIGHT.search(name) is not None
    long = sum(side != 1 for side in shape)
    if len(shape) < 2 or (long < 2 and not feeds and not (is_weight and len(shape) == 2)):
        return VECTOR
    last = name.rpartition(".")[2]
    if last == "bias" and len(shape) == 4:  # GPT-2 keeps its causal mask under this name
        return MASK
    if last.endswith("bias"):
        return BIAS
    if bias == shape or (is_weight and not feeds and NORMS.search(owner(name))):
        return GAIN
    return _of_matrix(name, tensors, is_weight, bias is not None)


def _of_matrix(name: str, tensors: Mapping[str, Form], is_weight: bool, biased: bool) -> Role:
    named, flat = owner(name), len(tensors[name].shape) == 2
    if IN_EXPERTS.search(name) and (is_weight or _in_one(name, tensors)):
        return EXPERTS
    if not is_weight:
        return TABLE if TABLES.search(name.rpartition(".")[2]) else UNNAMED
    if _is_table(named) and flat and not biased:
        return TABLE
    return ROUTER if _routes(name, tensors) else LAYER


def _is_table(owner: str) -> bool:
    return bool(TABLES.search(owner)) and not PROJECTIONS.search(owner)


def owner(name: str) -> str:
    """The module of a weight; for a module in a list, the list."""
    parts = [part for part in WRAPPED.sub("", name).split(".")[:-1] if not part.isdigit()]
    return parts[-1] if parts else ""


def _bias(name: str, tensors: Mapping[str, Form]) -> tuple[int, ...] | None:
    """The shape of the bias beside a weight."""
    bias = f"{name.removesuffix('weight')}bias"
    return tensors[bias].shape if name.endswith("weight") and bias in tensors else None


def _in_one(name: str, tensors: Mapping[str, Form]) -> bool:
    """Whether it may hold all experts: in three dimensions, or row by row as in DBRX."""
    last = name.rpartition(".")[2]
    return len(tensors[name].shape) == 3 or re.fullmatch(r"[wv]\d", last) is not None


def _routes(name: str, tensors: Mapping[str, Form]) -> bool:
    """Whether it is the router of the experts beside it."""
    match = GATES.search(name)
    if match is None:
        return False
    beside = name[: match.start() + len(match[1])]
    return any(
        other.startswith(beside)
        and (IN_EXPERTS.search(other[len(beside) :]) or _stacked(other, tensors))
        for other in tensors
    )


def _stacked(name: str, tensors: Mapping[str, Form]) -> bool:
    """Whether it is Granite's tensor of all experts, [experts, outputs, inputs]."""
    return re.search(r"(^|\.)(in|out)put_linear\.weight$", name) is not None and (
        len(tensors[name].shape) == 3
    )


def layout(name: str, tensors: Mapping[str, Form]) -> str | None:
    """The first dimensions of a layer's weight: outputs `o`, inputs `i`, experts `e`.

    The default is `oi`, as in most of PyTorch's layers. It is `io` if the bias has as many values
    as there are columns, but not rows, as in transposed convolutions and GPT-2's Conv1D. None if
    it is not known.
    """
    shape, bias, is_weight = tensors[name].shape, _bias(name, tensors), WEIGHT.search(name)
    if len(shape) == 3 and (IN_EXPERTS.search(name) or _stacked(name, tensors)):
        return "eoi" if is_weight else _of_experts(name, tensors)
    if IN_EXPERTS.search(name) and not is_weight:
        return None
    if len(shape) < 2 or bias == shape[:1] != shape[1:2]:
        return "oi"
    if bias == shape[1:2] != shape[:1]:
        return "io"
    return "io" if CONV1D.search(name) and _has_conv1d(tensors) else "oi"


def layouts_of(file: TensorFile, names: Iterable[str]) -> dict[str, str | None]:
    """The layouts that are not `oi`. Scores have no biases; their metadata lists the layouts.

    Raises BadInput for a layout of more dimensions than the tensor has.
    """
    forms = file.forms
    told = file.says(Described).layouts
    found = {name: layout(name, forms) if told is None else told.get(name, "oi") for name in names}
    own = {name: order for name, order in found.items() if order != "oi"}
    if odd := [name for name, order in own.items() if len(order or "") > len(forms[name].shape)]:
        raise BadInput(f"{file.label}: its layout of {odd[0]!r} is damaged; score again")
    return own


def _has_conv1d(tensors: Mapping[str, Form]) -> bool:
    """Whether a layer that is named as in GPT-2, and not square, is [inputs, outputs]."""
    return any(
        _bias(name, tensors) == form.shape[1:] != form.shape[:1]
        or (name.endswith("c_attn.weight") and form.shape[1:] == (3 * form.shape[0],))
        for name, form in tensors.items()
        if len(form.shape) == 2 and CONV1D.search(name)
    )


def _of_experts(name: str, tensors: Mapping[str, Form]) -> str | None:
    """The layout of a tensor of experts, if its projections' shapes tell.

    `gate_up_proj` has twice as many outputs as `down_proj` has inputs.
    """
    base = name.rpartition(".")[0]
    up, down = (tensors.get(f"{base}.{part}") for part in ("gate_up_proj", "down_proj"))
    if up is None or down is None or not len(up.shape) == len(down.shape) == 3:
        return None
    (_, *first), (_, *second) = up.shape, down.shape
    by_row = first == [second[1], 2 * second[0]]
    by_column = first == [2 * second[1], second[0]]
    return None if by_row == by_column else "eio" if by_row else "eoi"
