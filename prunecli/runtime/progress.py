"""What whoever watches is told."""

from __future__ import annotations

from typing import Any


class Progress:
    """What a step tells the person watching. This one stays silent; the CLI draws."""

    def say(self, message: str) -> None:
        """Tell something worth knowing."""

    def detail(self, message: str) -> None:
        """Tell something to whoever asked for more."""

    def warn(self, message: str) -> None:
        """Tell of something that is probably not what the user wanted."""

    def advance(self, label: str, done: int, total: int, **facts: Any) -> None:
        """Tell that `done` of `total` steps of `label` are over."""
