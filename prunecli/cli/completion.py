"""What a shell may offer to somebody who is typing. Nothing is imported for it: that takes long."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

from click.shell_completion import CompletionItem

from prunecli.package import FOLDER
from prunecli.plugins.names import names


def started(words: Iterable[str], incomplete: str) -> list[CompletionItem]:
    """The words that may become of what was typed so far."""
    return [CompletionItem(word) for word in words if word.startswith(incomplete)]


def written_options(kind: str, name: str) -> list[str]:
    """The options of a plugin of prunecli's own, as its source has them; of others, none."""
    if names(kind).get(name, "not ours") is not None:
        return []
    symbol = name.replace("-", "_")
    source = Path(FOLDER) / kind / f"{symbol}.py"
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name == symbol:
            return [arg.arg for arg in node.args.kwonlyargs if arg.arg != "mask"]
    return []
