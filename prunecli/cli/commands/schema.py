from __future__ import annotations

import json

import click

from prunecli.cli.answers import SchemaText
from prunecli.cli.base import Command, command
from prunecli.settings.run import Form

EXAMPLES = """
prunecli schema > prunecli.schema.json
prunecli schema | jq '."$defs".eval'
"""


@command("schema", examples=EXAMPLES)
def schema(form: Form) -> SchemaText | None:
    """Print a JSON schema of what every command prints with --json, failures included."""
    from prunecli.cli.schema import answers_schema

    made = answers_schema(
        {each.title: each.answer for each in commands(click.get_current_context().find_root())}
    )
    if form.json:
        return SchemaText(schema=made)
    click.echo(json.dumps(made, indent=1))
    return None


def commands(root: click.Context) -> list[Command]:
    """All commands, those of groups included."""
    found, waiting = [], [root.command]
    while waiting:
        each = waiting.pop(0)
        if isinstance(each, click.Group):
            waiting += each.commands.values()
        elif isinstance(each, Command):
            found.append(each)
    return found
