from __future__ import annotations

import json
from typing import Any

import click
from click.shell_completion import CompletionItem

from prunecli.cli.answers import Listed, Named
from prunecli.cli.base import command
from prunecli.cli.completion import started
from prunecli.cli.streams import legible, print_text
from prunecli.errors import PruneError, printable
from prunecli.plugins.arguments import default
from prunecli.plugins.names import known, names
from prunecli.plugins.plugin import Plugin
from prunecli.plugins.resolve import resolve
from prunecli.settings.run import Form

KINDS = {"methods": "scorers", "pruners": "pruners", "models": "models", "datasets": "data"}
EXAMPLES = """
prunecli list methods
prunecli list methods snip
prunecli list datasets --json
"""


def _of_kind(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    kind = KINDS.get(ctx.params.get("kind", ""))
    return started(names(kind), incomplete) if kind else []


@command("list", examples=EXAMPLES)
@click.argument("kind", type=click.Choice(list(KINDS)))
@click.argument("name", required=False, shell_complete=_of_kind)
def list_names(kind: str, name: str | None, form: Form) -> Listed | None:
    """List the methods, pruners, models or data sets, with their options.

    With a NAME, show its description: the equation, the source and the options.
    """
    if name is not None:
        plugin = resolve(KINDS[kind], name, by_file=False)
        if form.json:
            return Listed(kind=kind, names={name: _named(plugin)})
        _tell(plugin)
        return None
    for odd in known(KINDS[kind]).unread:
        click.echo(printable(f"warning: {odd}"), err=True)
    table = {name: _found(KINDS[kind], name) for name in names(KINDS[kind])}
    if form.json:
        return Listed(kind=kind, names=table)
    width = max(map(len, table), default=0)
    for name, one in table.items():
        options = ", ".join(f"{k}={v}" for k, v in one.options.items())
        more = f"  [{options}]" * bool(options)
        click.echo(printable(f"{name.ljust(width)}  {one.summary}{more}"))
    return None


def _tell(plugin: Plugin) -> None:
    """Print what is written of one."""
    print_text(f"{legible(plugin.text)}\n")
    options = plugin.declared.values()
    lines = [str(option.replace(kind=option.POSITIONAL_OR_KEYWORD)) for option in options]
    click.echo("\n".join(["", "Options:", *(f"  {printable(x)}" for x in lines or ["none"])]))


def _found(kind: str, name: str) -> Named:
    try:
        return _named(resolve(kind, name, by_file=False))
    except PruneError as error:  # one broken plugin must not hide the others
        return Named(summary=f"cannot be used: {error}", options={}, text="")


def _named(plugin: Plugin) -> Named:
    options = {option: _plain(default(p)) for option, p in plugin.declared.items()}
    return Named(summary=plugin.summary, options=options, text=plugin.text)


def _plain(value: Any) -> Any:
    """The value if JSON has it, and else as text."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return str(value)
    return value
