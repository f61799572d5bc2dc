"""YAML without its pitfalls, with the line of every value."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from prunecli.errors import BadUsage, printable
from prunecli.files.reading import opened, unreadable
from prunecli.files.texts import check_text, decoded
from prunecli.runtime.shortage import raise_shortage

MAX_BYTES = 1_000_000
MAX_DEPTH = 20
NO_TEXT = re.compile("[\0\ud800-\udfff]")
"""What escapes can spell and no path or argument can hold: NUL, and halves of characters."""
Location = tuple[Any, ...]
Lines = dict[Location, int]


class _Loader(yaml.SafeLoader):
    """Reads values as what they look like: a number is decimal, and of words only true, false and
    null are not text. YAML 1.1 takes 1e-3 for text, 010 for 8, 1:30 for 90 and no for false."""


_Loader.yaml_implicit_resolvers = {}
DIGITS = list("-+.0123456789")
for kind, pattern, first in (
    ("null", r"(~|null)?", ["~", "n", ""]),
    ("bool", r"true|false|True|False", list("tfTF")),
    ("int", r"[-+]?(0|[1-9][0-9]{0,30})", DIGITS),
    ("float", r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?", DIGITS),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{kind}", re.compile(rf"(?:{pattern})\Z"), first
    )
PLAIN = {f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float", "str")}


def load_yaml(path: Path) -> tuple[Any, Lines]:
    """The document and the line of every key, item and value, by its location in the document.

    Raises BadInput if the file cannot be read, and BadUsage with the line for anything but plain
    YAML: duplicate keys, aliases, tags, deep nesting, text that is not UTF-8.
    """
    label = printable(str(path))
    lines: Lines = {}
    value, errors = _parsed(_text(path, label), lines)
    if errors:
        raise BadUsage("\n".join(f"{label}:{error}" for error in errors))
    return value, lines


def scalar(text: str) -> Any:
    """The value of a piece of YAML on the command line: '0.1', '[1, 2]', 'vgg16'."""
    value, errors = _parsed(text, {})
    if errors:
        raise BadUsage(f"{text!r} is not a plain YAML value")
    return value


def _text(path: Path, label: str) -> str:
    try:
        with opened(path) as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise unreadable(path, error) from None
    try:
        check_text(raw)
        if len(raw) > MAX_BYTES:
            raise ValueError(f"a recipe of over {MAX_BYTES:,} bytes is too large")
        return decoded(raw)
    except ValueError as error:
        raise BadUsage(f"{label}: {error}") from None


def _parsed(text: str, lines: Lines) -> tuple[Any, list[str]]:
    """The value, and the faults of the text, each with its line in front."""
    errors: list[str] = []
    loader = None
    try:
        loader = _Loader(text)
        _refuse_traps(loader)
        loader = _Loader(text)
        node = loader.get_single_node()
    except (_Trap, yaml.YAMLError) as error:
        return None, [str(error) if isinstance(error, _Trap) else _where(error)]
    except Exception as error:  # of characters and versions it passes on whatever Python says
        raise_shortage(error)
        line = loader.line + 1 if loader else 1
        return None, [f"{line}: it is not YAML: {printable(str(error))}"]
    value = _value(node, (), lines, errors) if node is not None else None
    return value, errors


def texts(value: Any) -> list[str]:
    """Every text in a value, however deep."""
    if isinstance(value, list | dict):
        items = value.values() if isinstance(value, dict) else value
        return [text for item in items for text in texts(item)]
    return [value] if isinstance(value, str) else []


class _Trap(Exception):
    """A fault for something that YAML allows and a recipe does not, with its line in front."""


def _refuse_traps(loader: Any) -> None:
    depth = 0
    while loader.check_event():
        event = loader.get_event()
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise _Trap(f"{line}: anchors and aliases are not allowed; use vars")
        if tag := getattr(event, "tag", None):
            raise _Trap(f"{line}: the tag {printable(tag)!r} is not allowed")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise _Trap(f"{line}: it is nested too deeply")


def _where(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = printable(str(getattr(error, "problem", None) or error))
    return f"{mark.line + 1}: {problem}" if mark else f" {problem}"


def _value(node: yaml.Node, location: Location, lines: Lines, errors: list[str]) -> Any:
    line = lines[location] = node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode):
        return [_value(n, (*location, i), lines, errors) for i, n in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        table: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = str(getattr(key_node, "value", ""))
            if not isinstance(key_node, yaml.ScalarNode) or key == "<<":
                errors.append(f"{line}: a key must be a plain word")
            elif odd := NO_TEXT.search(key):
                errors.append(f"{line}: the character {odd[0]!a} is not allowed")
            elif key in table:
                errors.append(f"{line}: the key {printable(key)!r} appears twice")
            else:
                table[key] = _value(value_node, (*location, key), lines, errors)
                lines[(*location, key)] = line
        return table
    if odd := NO_TEXT.search(node.value):
        errors.append(f"{line}: the character {odd[0]!a} is not allowed")
    return _Loader("").construct_object(node) if node.tag in PLAIN else node.value
