from __future__ import annotations

import json
from typing import Any

import click

from prunecli import registry
from prunecli.cli._base import Command, examples, json_option
from prunecli.errors import PruneError, printable

KINDS = {"methods": "scorers", "pruners": "pruners", "models": "models", "datasets": "data"}
EXAMPLES = """
prunecli list methods
prunecli list datasets --json
"""


@click.command("list", cls=Command, epilog=examples(EXAMPLES))
@click.argument("kind", type=click.Choice(list(KINDS)))
@json_option
def list_names(kind: str, **params: Any) -> None:
    """Say which methods, pruners, models or data sets there are, with their options."""
    table = {name: _facts(KINDS[kind], name) for name in registry.names(KINDS[kind])}
    if params["json"]:
        click.echo(json.dumps(table))
        return
    width = max(map(len, table), default=0)
    for name, facts in table.items():
        options = ", ".join(f"{k}={v}" for k, v in facts["options"].items())
        more = f"  [{options}]" * bool(options)
        click.echo(printable(f"{name.ljust(width)}  {facts['summary']}{more}"))


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
