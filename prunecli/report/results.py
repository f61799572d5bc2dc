"""Results as `prunecli eval` wrote them, and what rows and figures may rely on in them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

from prunecli.errors import BadInput, printable
from prunecli.files.header import strict_json
from prunecli.files.meta import NONE, NUMBER, Each, Form, Record, fits, is_natural
from prunecli.files.texts import read_text

Result = dict[str, Any]


def number(least: float, most: float = 1e100) -> Callable[[Any], bool]:
    """The form of numbers in a range, by default of those whose squares can be added up."""
    return lambda value: fits(value, NUMBER) and least <= value <= most


def is_name(value: Any) -> bool:
    """Whether it is text that a line of a table has room for."""
    return isinstance(value, str) and len(value) <= LONGEST


LONGEST = 1_000
"""Characters of a name."""
NUMBERS: dict[str, Form] = {
    "top1": number(0, 100),
    "top5": number(0, 100),
    "loss": number(0),
    "density": number(0, 1),
    "compression": number(1),
    "empirical_compression": number(1),
    "compression_error": number(-1),
    "nonzero": number(0),
    "prunable": number(1),
    "flops_dense": number(1),
    "flops_sparse": number(0),
}
"""What is averaged over seeds."""
LAYER = Record(
    {"name": is_name, "total": number(1), "kept": number(0)}, needs=("name", "total", "kept")
)
NEEDED: dict[str, Form] = {
    **NUMBERS,
    "dead_layers": [is_name],
    "layers": lambda layers: fits(layers, [LAYER]) and layers != [],
    "model": is_name,
    "dataset": is_name,
    "method": (is_name, NONE),
    "scope": (is_name, NONE),
    "seed": (int, NONE),
}
EPOCH = Record(
    {
        "epoch": is_natural,
        "loss": number(-1e100),
        "top1": number(0, 100),
        "density": number(0, 1),
        "weights": [number(0)],
    },
    needs=("epoch", "loss"),
)
OPTION: Form = (str, bool, *NUMBER, list, dict, NONE)
OPTIONAL: dict[str, Form] = {
    "options": (Each(OPTION), NONE),
    "rounds": (int, NONE),
    "asked": (*NUMBER, NONE),
    "model_options": (dict, NONE),
    "dataset_options": (dict, NONE),
    "left_out": (dict, NONE),
    "settings": (dict, NONE),
    "earlier": ([dict], NONE),
    "rewound_to": (*NUMBER, NONE),
    "scoring": (dict, NONE),
    "mask_seed": (int, NONE),
    "history": ([EPOCH], NONE),
    "checkpoint_sha256": (str, NONE),
    "mask_sha256": (str, NONE),
    "versions": (Each(str), NONE),
}
"""Older versions of prunecli did not say all of this. Null stands for missing."""


def read_results(paths: Iterable[Path]) -> list[Result]:
    """The results that `prunecli eval` wrote. Raises BadInput for anything else."""
    return [_read(path) for path in paths]


def _read(path: Path) -> Result:
    label = printable(str(path))
    text = read_text(path)
    try:
        result = strict_json(text)
        json.dumps(result, ensure_ascii=False).encode()  # refuses halves of surrogate pairs
        fault = _fault(result)
    except json.JSONDecodeError:
        raise BadInput(f"{label}: it is not JSON; give what 'prunecli eval' wrote") from None
    except ValueError as error:
        fault = printable(str(error))
    if fault:
        raise BadInput(f"{label}: not a result: {fault}; give what 'prunecli eval' wrote")
    return dict(result)


def _fault(result: Any) -> str | None:
    """The first thing, if any, in which this is of another form than a result."""
    table = result if isinstance(result, dict) else {}
    for key, form in (NEEDED | OPTIONAL).items():
        if key in table and not fits(table[key], form):
            return f"its {key!r} is {shortened(table[key])}"
        if key in NEEDED and key not in table:
            return f"it has no {key!r}"
    return None
