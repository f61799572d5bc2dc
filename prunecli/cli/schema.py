"""A JSON schema of what commands print with --json, made of the records that declare it."""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from prunecli.cli.answers import Answer, Failure, Of
from prunecli.cli.failures import kinds
from prunecli.files.parsing import Record

Schema = dict[str, Any]
NAMES = {str: "string", bool: "boolean", int: "integer", float: "number", NoneType: "null"}


def answers_schema(answers: Mapping[str, type[Answer]]) -> Schema:
    """The schema of all that is printed; `answers` are the commands' own, by their titles.

    `$defs` has what each command prints by its title, with '-' for ' ', and `Failure`.
    """
    found: dict[str, Schema] = {}
    commands = {
        title.replace(" ", "-"): _answer(title, cls, found) for title, cls in answers.items()
    }
    _record(Failure, found, whole=True)
    found["Failure"]["properties"]["kind"] |= {"enum": list(kinds())}
    found["Failure"]["properties"]["exit"] |= {
        "enum": [each.exit_code for each in kinds().values()]
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What prunecli prints with --json",
        "oneOf": [{"$ref": f"#/$defs/{title}"} for title in [*commands, "Failure"]],
        "$defs": commands | found,
    }


def _answer(title: str, cls: type[Answer], found: dict[str, Schema]) -> Schema:
    own = _table(cls, found, whole=True)
    properties = {"command": {"const": title}, **own["properties"]}
    return {**own, "properties": properties, "required": [*properties]}


def _record(cls: type[Record], found: dict[str, Schema], whole: bool = False) -> Schema:
    """A reference to the schema of a record, which is among those `found`."""
    if cls.__name__ not in found:
        found[cls.__name__] = {}
        found[cls.__name__] |= _table(cls, found, whole)
    return {"$ref": f"#/$defs/{cls.__name__}"}


def _table(cls: type[Record], found: dict[str, Schema], whole: bool) -> Schema:
    """The schema of a record. If it is `whole`, all of its names are there, and no others."""
    types = cls.types()
    properties = {name: _value(hint, found) for name, hint in types.items()}
    required = [name for name in types if whole or not _allows_none(types[name])]
    if isinstance(kind := getattr(cls, "kind", None), str):  # as a file says it
        properties, required = {"kind": {"const": kind}, **properties}, ["kind", *required]
    about = (cls.__doc__ or "").partition("\n")[0]
    made = {"type": "object", "description": about, "properties": properties, "required": required}
    return made | {"additionalProperties": False} if whole else made


def _value(hint: Any, found: dict[str, Schema]) -> Schema:
    """The schema of a value; in an annotation, a text describes it."""
    base, inner = get_origin(hint), get_args(hint)
    if base is Annotated:
        texts = [note for note in inner[1:] if isinstance(note, str)]
        records = [each for note in inner[1:] if isinstance(note, Of) for each in note.records()]
        about = {"description": " ".join(texts)} if texts else {}
        choices = [_record(each, found) for each in records] or [_value(inner[0], found)]
        return {**_one_of(choices), **about}
    if base in (UnionType, Union):
        return _one_of([_value(each, found) for each in inner])
    if base is tuple:
        return _list(inner, found)
    if base is Mapping:
        return {"type": "object", "additionalProperties": _value(inner[1], found)}
    if isinstance(hint, type) and issubclass(hint, Record):
        return _record(hint, found)
    return {} if hint is Any else {"type": NAMES[hint]}


def _list(kinds: tuple[Any, ...], found: dict[str, Schema]) -> Schema:
    if kinds[-1] is Ellipsis:
        return {"type": "array", "items": _value(kinds[0], found)}
    items = [_value(each, found) for each in kinds]
    return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}


def _one_of(choices: list[Schema]) -> Schema:
    if len(choices) == 1:
        return choices[0]
    if all(each.keys() == {"type"} for each in choices):
        return {"type": [each["type"] for each in choices]}
    return {"anyOf": [part for each in choices for part in _parts(each)]}


def _parts(choice: Schema) -> list[Schema]:
    return choice["anyOf"] if choice.keys() == {"anyOf"} else [choice]


def _allows_none(hint: Any) -> bool:
    if get_origin(hint) is Annotated:
        return _allows_none(get_args(hint)[0])
    return hint is Any or NoneType in get_args(hint)
