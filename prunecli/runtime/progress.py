"""What whoever watches is told."""

from __future__ import annotations

from typing import Any


class Progress:
    """What a step tells the person watching. This one stays silent; the CLI draws."""

    def say(self, message: str) -> None:
        """Something worth knowing."""

    def detail(self, message: str) -> None:
        """Something for whoever asked for more."""

    def warn(self, message: str) -> None:
        """Something that is probably not what the user wanted."""

    def advance(self, label: str, done: int, total: int, **facts: Any) -> None:
        """`done` of `total` steps of `label` are over."""
