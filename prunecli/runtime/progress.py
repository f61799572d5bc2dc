"""Messages and progress for the person watching."""

from __future__ import annotations

from typing import Any


class Progress:
    """The messages and progress of a step. This one is silent; the command line draws."""

    def say(self, message: str) -> None:
        """Print a message."""

    def detail(self, message: str) -> None:
        """Print a message that is shown with --verbose."""

    def warn(self, message: str) -> None:
        """Print a warning."""

    def advance(self, label: str, done: int, total: int, **facts: Any) -> None:
        """Report that `done` of `total` steps of `label` are done."""
