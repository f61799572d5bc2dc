"""The form of prunecli's metadata: what may be looked into without a further check."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

Form: TypeAlias = "type | tuple[Form, ...] | list[Form] | Each | Record | Callable[[Any], bool]"
"""A type; any of several; a list of such; a table; or whatever a function says yes to."""


@dataclass(frozen=True)
class Each:
    """A table with any keys, whose values are all of one form."""

    values: Form


@dataclass(frozen=True)
class Record:
    """A table with these keys, each of its form; only those in `needs` must be there."""

    keys: dict[str, Form]
    needs: tuple[str, ...] = ()


def fits(value: Any, form: Form) -> bool:
    if isinstance(form, tuple):
        return any(fits(value, one) for one in form)
    if isinstance(form, list):
        return isinstance(value, list) and all(fits(item, form[0]) for item in value)
    if isinstance(form, Each):
        return isinstance(value, dict) and all(fits(v, form.values) for v in value.values())
    if isinstance(form, Record):
        known = form.keys.items()
        return (
            isinstance(value, dict)
            and all(key in value for key in form.needs)
            and all(fits(value[key], inner) for key, inner in known if key in value)
        )
    if not isinstance(form, type):
        return form(value)
    if isinstance(value, bool):  # which is an int to Python, and is none here
        return form is bool
    if form is int:
        return isinstance(value, int) and abs(value) < 1 << 63
    return isinstance(value, form)


NONE = type(None)
NUMBER = (int, float)
MOST_VALUES = 1 << 26
"""Of one image."""


def is_image(shape: Any) -> bool:
    """Whether this is a shape [C, H, W] that an image may have."""
    return (
        fits(shape, [int])
        and len(shape) == 3
        and all(side > 0 for side in shape)
        and math.prod(shape) <= MOST_VALUES
    )


def is_count(value: Any) -> bool:
    return fits(value, int) and 0 < value < 1 << 20


def is_natural(value: Any) -> bool:
    return fits(value, int) and value >= 0


def is_density(value: Any) -> bool:
    return fits(value, NUMBER) and 1e-18 <= value <= 1


MODEL = Record(
    {"name": str, "options": dict, "input_shape": is_image, "classes": is_count},
    needs=("name", "options", "input_shape", "classes"),
)
DATASET = Record({"name": str, "options": dict, "sha256": (str, NONE)})
DENSITY = Record({"kept": Each(int), "per_tensor": Each(NUMBER), "overall": NUMBER})
SETTINGS = Each((str, bool, *NUMBER))
LEFT_WHOLE = Record(
    {
        "tensors": is_natural,
        "weights": is_natural,
        "reasons": Each(lambda count: fits(count, [is_natural]) and len(count) == 2),
        "beside": [str],
    },
    needs=("tensors", "weights", "reasons", "beside"),
)
LAYOUTS = ("oi", "io", "eoi", "eio")
ORIGIN: dict[str, Form] = {
    "method": (str, NONE),
    "options": (dict, NONE),
    "kept": (is_natural, NONE),
    "total": (is_natural, NONE),
    "asked": (is_density, NONE),
    "left_out": (dict, NONE),
    "scoring": (dict, NONE),
    "left_whole": (LEFT_WHOLE, NONE),
}
"""How a mask came to be: in its own file, and in what was made with it."""
MASK = Record({**ORIGIN, "sha256": str, "epochs": int})
META = Record(
    {
        **ORIGIN,
        "kind": str,
        "parameters": (is_natural, NONE),
        "model": (MODEL, NONE),
        "dataset": (DATASET, NONE),
        "settings": (SETTINGS, NONE),
        "earlier": ([SETTINGS], NONE),
        "rewound_to": (int, NONE),
        "seed": (int, NONE),
        "density": (DENSITY, NONE),
        "mask": (MASK, str, NONE),
        "prunable": ([str], NONE),
        "first": (str, NONE),
        "classes": ([str], NONE),
        "classifier": (str, NONE),
        "layouts": (Each((LAYOUTS.__contains__, NONE)), NONE),
        "history": ([dict], NONE),
    },
    needs=("kind",),
)
"""What every file of prunecli's may say of itself. Null stands for missing."""
CHECKPOINT = Record({"mask": (MASK, NONE)})
"""Of a checkpoint's mask more is said than the hash."""
TRAINING = Record(
    {"step": is_natural, "history": [dict], "scheduler": dict, "groups": [dict], "tensors": [str]},
    needs=("step", "history", "scheduler", "groups", "tensors"),
)
STATE = Record(
    {"facts": dict, "training": TRAINING, "digest": str}, needs=("facts", "training", "digest")
)
"""What a training can go on from."""


def sound(meta: Any) -> bool:
    """Whether what others will look into is of the form that they expect."""
    return (
        fits(meta, META)
        and (meta["kind"] != "checkpoint" or fits(meta, CHECKPOINT))
        and _counts(meta)
        and _counts(meta.get("mask"))
    )


def _counts(mask: Any) -> bool:
    """Whether what a mask keeps, if it says so, is not more than there is."""
    kept = mask.get("kept") if isinstance(mask, dict) else None
    return kept is None or 0 <= kept <= (mask.get("total") or -1)
