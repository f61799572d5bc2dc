from __future__ import annotations

import json
from typing import Any

import click
from click.shell_completion import CompletionItem

from prunecli.cli.base import command
from prunecli.cli.completion import started
from prunecli.cli.streams import legible, print_text
from prunecli.errors import PruneError, printable
from prunecli.plugins.arguments import default
from prunecli.plugins.names import known, names
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
def list_names(kind: str, name: str | None, form: Form) -> None:
    """List the methods, pruners, models or data sets, with their options.

    With a NAME, show its description: the equation, the source and the options.
    """
    if name is not None:
        _tell(KINDS[kind], name, form.json)
        return
    for odd in known(KINDS[kind]).unread:
        click.echo(printable(f"warning: {odd}"), err=True)
    table = {name: _facts(KINDS[kind], name) for name in names(KINDS[kind])}
    if form.json:
        click.echo(json.dumps(table, default=str))
        return
    width = max(map(len, table), default=0)
    for name, facts in table.items():
        options = ", ".join(f"{k}={v}" for k, v in facts["options"].items())
        more = f"  [{options}]" * bool(options)
        click.echo(printable(f"{name.ljust(width)}  {facts['summary']}{more}"))


def _tell(kind: str, name: str, as_json: bool) -> None:
    """Print the description of one plugin. Raises BadUsage if there is none of that name."""
    plugin = resolve(kind, name, by_file=False)
    if as_json:
        facts = {"name": name, **_facts(kind, name), "text": plugin.text}
        click.echo(json.dumps(facts, default=str))
        return
    print_text(f"{legible(plugin.text)}\n")
    options = plugin.declared.values()
    lines = [str(option.replace(kind=option.POSITIONAL_OR_KEYWORD)) for option in options]
    click.echo("\n".join(["", "Options:", *(f"  {printable(x)}" for x in lines or ["none"])]))


def _facts(kind: str, name: str) -> dict[str, Any]:
    try:
        plugin = resolve(kind, name, by_file=False)
        options = {option: default(p) for option, p in plugin.declared.items()}
    except PruneError as error:  # one broken plugin must not hide the others
        return {"summary": f"cannot be used: {error}", "options": {}}
    return {"summary": plugin.summary, "options": options}
