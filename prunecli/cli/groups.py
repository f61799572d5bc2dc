"""Groups of commands, and the help of all of them."""

from __future__ import annotations

import sys
from typing import Any

import click

from prunecli.cli.call import JSON

WIDTH = 100
"""The most columns of a help text, and as many as it has off a terminal."""
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": WIDTH}


class Context(click.Context):
    """A context whose help looks at the width of a terminal only where there is one."""

    def make_formatter(self) -> click.HelpFormatter:
        if sys.stdout.isatty():
            return super().make_formatter()
        return self.formatter_class(width=WIDTH - 2)


class Group(click.Group):
    """Commands, of which each takes a --json that stands before its name, too."""

    context_class = Context

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, context_settings=CONTEXT, **kwargs)
        self.params.append(
            click.Option([JSON], is_flag=True, hidden=True, expose_value=False, callback=_note)
        )


def _note(ctx: click.Context, param: click.Parameter, wanted: bool) -> None:
    if wanted:
        ctx.meta[JSON] = True
