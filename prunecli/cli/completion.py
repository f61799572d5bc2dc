"""Completions for the shell. Nothing is imported for them, since that takes long."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

from click.shell_completion import CompletionItem

from prunecli.package import FOLDER
from prunecli.plugins.names import names


def started(words: Iterable[str], incomplete: str) -> list[CompletionItem]:
    """The words that start with the typed text."""
    return [CompletionItem(word) for word in words if word.startswith(incomplete)]


def written_options(kind: str, name: str) -> list[str]:
    """The options of one of prunecli's own plugins, from its source; none for others."""
    if names(kind).get(name, "not ours") is not None:
        return []
    symbol = name.replace("-", "_")
    source = Path(FOLDER) / kind / f"{symbol}.py"
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name == symbol:
            return [arg.arg for arg in node.args.kwonlyargs if arg.arg != "mask"]
    return []
