from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from prunecli.cli.base import FILE, Command, common, common_options, done, examples

EXAMPLES = """
prunecli apply ckpt.safetensors --mask m.safetensors -o pruned.safetensors
"""


@click.command("apply", cls=Command, product="ckpt.safetensors", epilog=examples(EXAMPLES))
@click.argument("checkpoint", type=FILE)
@click.option("--mask", type=FILE, required=True, help="What 'prunecli mask' wrote.")
@common_options
def apply(checkpoint: Path, **params: Any) -> None:
    """Write CHECKPOINT with the weights that a mask removes set to exactly zero."""
    from prunecli.steps.apply import apply as step

    in_shards = checkpoint.is_dir() or checkpoint.suffix == ".json"
    done(params, step(checkpoint, params["mask"], common(params, folder=in_shards)))
