"""A call of the command line: whether JSON was asked for, and its one answer."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import click

JSON = "--json"


class Call:
    """A call of the command line, which is answered once at most.

    Whether JSON was asked for, the bare words say until a command has read them: where it cannot,
    its error is to be JSON as well.
    """

    def __init__(self, words: Sequence[str] = (JSON,)) -> None:
        options = words[: words.index("--")] if "--" in words else words
        self.json = any(word.partition("=")[0] == JSON for word in options)
        self.is_answered = False

    def answer(self, table: Mapping[str, Any]) -> None:
        """Print the answer, if JSON was asked for; of several processes, one does."""
        alone = os.environ.get("WORLD_SIZE", "1") == "1"
        if self.json and not self.is_answered and (alone or os.environ.get("RANK") == "0"):
            text = json.dumps(table, allow_nan=False)
            self.is_answered = True
            click.echo(text)
