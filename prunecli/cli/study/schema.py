"""A JSON schema of recipes, made of the commands' own options."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from prunecli.cli.base import Command
from prunecli.cli.options import Setting
from prunecli.cli.study.steps import argument_names, option_names
from prunecli.recipe.read import DERIVED_KEYS, KEYS, NAME
from prunecli.settings.kinds import (
    Kind,
    OneOf,
    Plain,
    PluginName,
    Real,
    Switch,
    Whole,
)
from prunecli.settings.study import RESERVED

Schema = dict[str, Any]
FILLED = {"type": "string", "pattern": r"\$\{[^}]*\}|^@"}
"""A value given by a variable or the output of another step."""
PLAIN = {"type": ["string", "number", "boolean", "null"]}
POINTS = {"type": "array", "items": {"type": "object", "additionalProperties": PLAIN}}


def recipe_schema(steps: Mapping[str, Command]) -> Schema:
    """The schema of a recipe, and of one that changes values of a base."""
    name = {"type": "string", "pattern": f"^{NAME.pattern}$"}
    step = {
        "type": "object",
        "properties": {
            "over": {"type": "array", "items": {"type": "string"}},
            **{command: _options(steps[command]) for command in steps},
        },
        "additionalProperties": False,
    }
    parts: Schema = {
        "version": {"const": 1},
        "name": name,
        "description": {"type": "string"},
        "vars": {"type": "object"},
        "matrix": {"type": "object", "properties": {"exclude": POINTS, "include": POINTS}},
        "steps": {"type": "object", "propertyNames": name, "additionalProperties": step},
        "base": {"type": "string"},
        "set": {"type": "object"},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "prunecli recipe",
        "oneOf": [
            _table({key: parts[key] for key in parts if key in KEYS}, ["version", "steps"]),
            _table({key: parts[key] for key in parts if key in DERIVED_KEYS}, ["version", "base"]),
        ],
    }


def _table(properties: Schema, required: list[str]) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _options(command: Command) -> Schema:
    """A command's options and arguments; of one that takes a plugin's, any others as well."""
    properties: Schema = {name: {} for name in sorted(argument_names(command))}
    for name, option in option_names(command).items():
        if name not in RESERVED and isinstance(option, Setting):
            properties[name] = {"description": option.row.help, **_value(option.row.kind)}
    # Keys may be written with '_' for '-'.
    properties |= {name.replace("-", "_"): value for name, value in properties.items()}
    known = {"type": "object", "properties": properties}
    return known if "opt" in command.plugins else known | {"additionalProperties": False}


def _value(kind: Kind) -> Schema:
    one = {"anyOf": [_scalar(kind), FILLED]}
    return {"anyOf": [one, {"type": "array", "items": one}]} if kind is Plain.TEXTS else one


def _scalar(kind: Kind) -> Schema:
    match kind:
        case Switch():
            return {"type": "boolean"}
        case Plain.PAIRS:
            return {"type": "object"}
        case OneOf(names):
            return {"enum": list(names)}
        case Whole(least, most):
            return {"type": "integer", "minimum": least, "maximum": most}
        case Real(low, high, ends):
            low_key = "minimum" if ends[0] == "[" else "exclusiveMinimum"
            high_key = "maximum" if ends[1] == "]" else "exclusiveMaximum"
            return {
                "type": "number",
                low_key: low,
                **({high_key: high} if math.isfinite(high) else {}),
            }
        case PluginName():
            return {"type": "string"}
    return {"type": ["string", "number"]}
