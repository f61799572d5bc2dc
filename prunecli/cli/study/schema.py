"""A JSON schema of recipes, made of the commands' own options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from prunecli.cli.base import Command
from prunecli.cli.study.steps import RESERVED, argument_names, option_names
from prunecli.cli.values import KeyValue, Named, Number
from prunecli.recipe.read import DERIVED_KEYS, KEYS, NAME

Schema = dict[str, Any]
FILLED = {"type": "string", "pattern": r"\$\{[^}]*\}|^@"}
"""A value that a variable or another step's output stands in for."""
PLAIN = {"type": ["string", "number", "boolean", "null"]}
POINTS = {"type": "array", "items": {"type": "object", "additionalProperties": PLAIN}}


def recipe_schema(steps: Mapping[str, Command]) -> Schema:
    """The schema of a recipe, and of one that is another with other values."""
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
        if name not in RESERVED:
            properties[name] = {"description": option.help or "", **_value(option)}
    # Keys may be written with '_' for '-'.
    properties |= {name.replace("-", "_"): value for name, value in properties.items()}
    known = {"type": "object", "properties": properties}
    return known if "opt" in command.plugins else known | {"additionalProperties": False}


def _value(option: click.Option) -> Schema:
    if option.is_flag:
        return {"anyOf": [{"type": "boolean"}, FILLED]}
    if isinstance(option.type, KeyValue):
        return {"anyOf": [{"type": "object"}, FILLED]}
    one = {"anyOf": [_scalar(option.type), FILLED]}
    return {"anyOf": [one, {"type": "array", "items": one}]} if option.multiple else one


def _scalar(kind: object) -> Schema:
    if isinstance(kind, click.Choice):
        return {"enum": list(kind.choices)}
    if isinstance(kind, click.IntRange):
        limits = {"minimum": kind.min, "maximum": kind.max}
        return {"type": "integer", **{k: v for k, v in limits.items() if v is not None}}
    if isinstance(kind, Number):
        low = "minimum" if kind.ends[0] == "[" else "exclusiveMinimum"
        high = "maximum" if kind.ends[1] == "]" else "exclusiveMaximum"
        finite = {high: kind.high} if kind.high != float("inf") else {}
        return {"type": "number", low: kind.low, **finite}
    if isinstance(kind, Named):
        return {"type": "string"}
    return {"type": ["string", "number"]}
