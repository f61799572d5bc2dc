from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from prunecli.cli.base import (
    FILE,
    SCORER_PLUGIN,
    SOURCE_PLUGIN,
    Command,
    common,
    common_options,
    device_option,
    done,
    examples,
    scoring,
    scoring_options,
    scoring_reads,
    seed_option,
)
from prunecli.cli.values import Named

EXAMPLES = """
prunecli score --method lamp ckpt.safetensors
prunecli score --method snip --opt batches=4 init.safetensors -o snip.safetensors
prunecli score --method magnitude --ignore '*lm_head*' llama/   # any safetensors file or folder
prunecli list methods
"""


@click.command(
    "score",
    cls=Command,
    product="scores.safetensors",
    reads=scoring_reads,
    plugins={**SCORER_PLUGIN, **SOURCE_PLUGIN},
    epilog=examples(EXAMPLES),
)
@click.argument("checkpoint", type=FILE)
@click.option("--method", type=Named("scorers"), required=True, help="See 'prunecli list methods'.")
@scoring_options
@click.option("--mask", type=FILE, help="Score the network as this mask leaves it.")
@seed_option
@device_option
@common_options
def score(checkpoint: Path, **params: Any) -> None:
    """Score how much each weight of CHECKPOINT matters; higher means keep.

    magnitude, lamp and random look at weights alone and take any safetensors checkpoint; the others
    need one that prunecli trained, and all but lookahead and synflow its data.
    """
    from prunecli.steps.score import score as step

    done(params, step(checkpoint, scoring(params), params["mask"], common(params)))
