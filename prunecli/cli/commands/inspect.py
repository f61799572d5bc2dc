from __future__ import annotations

from pathlib import Path

import click

from prunecli.cli.answers import Inspected
from prunecli.cli.base import FILE, command
from prunecli.errors import printable
from prunecli.settings.run import Form

EXAMPLES = """
prunecli inspect ckpt.safetensors
prunecli inspect llama/ --json | jq .parameters
"""


@command("inspect", examples=EXAMPLES)
@click.argument("file", type=FILE)
def inspect(file: Path, form: Form) -> Inspected | None:
    """Show what FILE is: its kind, lineage and tensors. Nothing in it is executed or opened.

    For a checkpoint, also count exact zeros, and show the tightest N:M pattern that each tensor
    satisfies, with M of 2, 4, 8, 16 or 32 and N of at most M/2.
    """
    from prunecli.steps.inspect import inspect as step

    facts = step(file)
    if form.json:
        return Inspected(**facts)
    from prunecli.cli.inspected import lines_of

    for line in lines_of(facts):
        click.echo(printable(line))
    return None
