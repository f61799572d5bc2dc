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
    """Say what FILE is: kind, lineage and tensors. Nothing in it is run or followed.

    Of a checkpoint, exact zeros are counted too, and of each tensor the tightest pattern N:M that
    holds, for an M of 2, 4, 8, 16 or 32 and at most half of the weights.
    """
    from prunecli.steps.inspect import inspect as step

    facts = step(file)
    if form.json:
        return Inspected(**facts)
    from prunecli.cli.inspected import lines_of

    for line in lines_of(facts):
        click.echo(printable(line))
    return None
