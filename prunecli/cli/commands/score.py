from __future__ import annotations

from pathlib import Path

import click

from prunecli.cli.answers import Written, written
from prunecli.cli.base import FILE, command, done, told
from prunecli.plugins.plugin import Plugin
from prunecli.plugins.resolve import resolve
from prunecli.settings.run import Seeded, Talk
from prunecli.settings.scoring import ScoreSettings, ScoringSettings

EXAMPLES = """
prunecli score --method lamp ckpt.safetensors
prunecli score --method snip --opt batches=4 init.safetensors -o snip.safetensors
prunecli score --method magnitude --ignore '*lm_head*' llama/   # any safetensors file or folder
prunecli list methods
"""


def scoring_reads(scoring: ScoringSettings) -> list[str]:
    """The splits that scoring reads: none for a method that uses the weights alone."""
    method = method_of(scoring)
    return ["train"] if method and method.takes_model else []


def method_of(scoring: ScoringSettings) -> Plugin | None:
    """The scoring method, if one is given."""
    name = scoring.method
    return None if name is None else resolve("scorers", name, by_file=False)


@command("score", product="scores.safetensors", reads=scoring_reads, trusts=True, examples=EXAMPLES)
@click.argument("checkpoint", type=FILE)
def score(checkpoint: Path, settings: ScoreSettings, run: Seeded, talk: Talk) -> Written | None:
    """Score the importance of each weight of CHECKPOINT; the highest scores are kept.

    magnitude, lamp, random and nonzero use the weights alone and accept any safetensors checkpoint.
    The other methods need a checkpoint written by prunecli, and all but lookahead and synflow read
    its training data.
    """
    from prunecli.steps.score import score as step

    return done(run, talk, step(checkpoint, settings, told(run, talk)), written)
