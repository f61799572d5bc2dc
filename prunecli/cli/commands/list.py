from __future__ import annotations

import inspect
import json
from typing import Any

import click
from click.shell_completion import CompletionItem

from prunecli.cli.base import command
from prunecli.cli.completion import started
from prunecli.cli.streams import legible, print_text
from prunecli.errors import PruneError, printable
from prunecli.plugins import registry
from prunecli.plugins.trust import trust
from prunecli.settings.run import Form

KINDS = {"methods": "scorers", "pruners": "pruners", "models": "models", "datasets": "data"}
EXAMPLES = """
prunecli list methods
prunecli list methods snip
prunecli list datasets --json
"""


def _of_kind(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    kind = KINDS.get(ctx.params.get("kind", ""))
    return started(registry.names(kind), incomplete) if kind else []


@command("list", examples=EXAMPLES)
@click.argument("kind", type=click.Choice(list(KINDS)))
@click.argument("name", required=False, shell_complete=_of_kind)
def list_names(kind: str, name: str | None, form: Form) -> None:
    """Say which methods, pruners, models or data sets there are, with their options.

    With a NAME, what is written of that one: its equation, its source and its options.
    """
    if name is not None:
        _tell(KINDS[kind], name, form.json)
        return
    table = {name: _facts(KINDS[kind], name) for name in registry.names(KINDS[kind])}
    if form.json:
        click.echo(json.dumps(table))
        return
    width = max(map(len, table), default=0)
    for name, facts in table.items():
        options = ", ".join(f"{k}={v}" for k, v in facts["options"].items())
        more = f"  [{options}]" * bool(options)
        click.echo(printable(f"{name.ljust(width)}  {facts['summary']}{more}"))


def _tell(kind: str, name: str, as_json: bool) -> None:
    """Print what is written of one. Raises BadUsage if it is not there."""
    trust([name] if ":" in name else [])
    text = inspect.getdoc(registry.find(kind, name)) or ""
    facts = _facts(kind, name)
    if as_json:
        click.echo(json.dumps({"name": name, **facts, "text": text}))
        return
    print_text(f"{legible(text)}\n")
    options = registry.options(registry.find(kind, name))
    lines = [str(option.replace(kind=option.POSITIONAL_OR_KEYWORD)) for option in options.values()]
    click.echo("\n".join(["", "Options:", *(f"  {printable(x)}" for x in lines or ["none"])]))


def _facts(kind: str, name: str) -> dict[str, Any]:
    try:
        options = registry.options(registry.find(kind, name))
        summary = registry.summary(kind, name)
    except PruneError as error:  # of somebody's plugin; the others are as they are
        return {"summary": f"cannot be used: {error}", "options": {}}
    return {
        "summary": summary,
        "options": {o: registry.default(p) for o, p in options.items()},
    }
