"""What results are called: their own labels, or the method and what varies among its results."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

from prunecli.files.results import Result

DENSE = "dense"


def method_label(result: Result) -> str:
    """What a line in a figure is called: 'lamp', 'magnitude layer', 'snip 100 rounds'.

    A mask made within an earlier one is 'magnitude iterative', one selected by another rule than
    exactly 'grasp threshold-rule', one that goes as far as no layer is left empty 'lamp critical'.
    A network that was never trained under its mask is another thing: 'lamp untrained'.
    """
    if result.is_dense:
        return DENSE
    scope = "" if result.scope == "global" else f" {result.scope}"
    rounds = result.rounds or 1
    options = "".join(f" {k}={v}" for k, v in sorted((result.options or {}).items()))
    in_rounds = f" {rounds} rounds" if rounds > 1 else ""
    iterative = " iterative" if result.nested else ""
    rule = f" {result.rule}-rule" if result.rule else ""
    critical = " critical" if result.critical else ""
    untrained = " untrained" if result.mask_epochs == 0 else ""
    return f"{result.method}{scope}{options}{in_rounds}{rule}{iterative}{critical}{untrained}"


def labels(results: list[Result]) -> list[str]:
    """What each method is called, and whatever varies among its results."""
    families: dict[tuple[str, ...], list[dict[str, str]]] = {}
    keys = [(method_label(r), network(r), r.dataset, r.label or "") for r in results]
    circumstances = [_circumstances(result) for result in results]
    for key, facts in zip(keys, circumstances, strict=True):
        families.setdefault(key, []).append(facts)
    varying = {
        key: {
            name
            for name in set().union(*members)
            if len({facts.get(name) for facts in members}) > 1
        }
        for key, members in families.items()
    }
    return [
        key[0] + "".join(f" {name}={facts[name]}" for name in facts if name in varying[key])
        for key, facts in zip(keys, circumstances, strict=True)
    ]


def _circumstances(result: Result) -> dict[str, str]:
    """What may differ between runs of one method, besides the seed, as it reads in a label."""
    earlier = _earlier(result)
    while earlier and earlier[-1] == result.settings:  # as in rounds, one for each ratio
        earlier.pop()
    of = {
        "": result.settings,
        "earlier ": {
            name: ",".join(str(settings.get(name)) for settings in earlier)
            for name in dict.fromkeys(chain(*earlier))
        },
        "scoring ": result.scoring,
        "model ": result.model_options,
        "data ": result.dataset_options,
        "mask ": result.left_out,
    }
    facts = {f"{prefix}{k}": v for prefix, own in of.items() for k, v in (own or {}).items()} | {
        "evaluated in": result.precision,
        "rounds_schedule": result.rounds_schedule,
        "rewound": result.rewound,
        "count": result.count,
        "rewound to": result.rewound_to,
    }
    return {name: str(value) for name, value in facts.items() if value is not None}


def _earlier(result: Result) -> list[Mapping[str, Any]]:
    """The settings of the trainings before the last, without those of 0 epochs."""
    return [settings for settings in result.earlier or () if settings.get("epochs") != 0]


def training(result: Result) -> dict[str, str]:
    """The settings that a fair comparison of methods keeps equal: of training, and of the data."""
    facts = {name: value for name, value in (result.settings or {}).items() if name != "compile"}
    facts |= {f"data {name}": value for name, value in (result.dataset_options or {}).items()}
    epochs = [str(settings.get("epochs")) for settings in _earlier(result)]
    return {
        name: str(value)
        for name, value in {**facts, "earlier epochs": "+".join(epochs) or 0}.items()
        if value is not None
    }


def names(results: list[Result], described: list[str]) -> list[str]:
    """What a report calls each result: its own label, or else its description.

    A label that stands for several descriptions at one compression, or for a description of some
    other result, has the description after it. So has one that calls a pruned network dense.
    """
    keys = [(network(r), r.dataset, r.label or d) for r, d in zip(results, described, strict=True)]
    bare = {key for result, key in zip(results, keys, strict=True) if not result.label}
    meant: dict[tuple[object, ...], set[str]] = {}
    for result, key, description in zip(results, keys, described, strict=True):
        asked = None if result.is_free else result.compression
        meant.setdefault((*key, asked), set()).add(description)
    unclear = {key[:3] for key, descriptions in meant.items() if len(descriptions) > 1} | bare
    return [
        f"{name} ({description})"
        if name != description and (key in unclear or name == DENSE)
        else name
        for key, description in zip(keys, described, strict=True)
        for name in [key[2]]
    ]


def network(result: Result) -> str:
    """What is compared under one heading: the model, or what it is a variant of."""
    return str((result.model_options or {}).get("base", result.model))
