from __future__ import annotations

from pathlib import Path

import click

from prunecli.cli.answers import Written, written
from prunecli.cli.base import FILE, command, done, told
from prunecli.cli.commands.score import method_of, scoring_reads
from prunecli.settings.mask import MaskSettings
from prunecli.settings.run import Seeded, Talk

EXAMPLES = """
prunecli mask ckpt.lamp.scores.safetensors --compression 16
prunecli mask $(prunecli score --method lamp ckpt.safetensors) --sparsity 0.9 --scope layer
prunecli mask init.safetensors --method snip --rounds 10 --density 0.02   # scored every round
prunecli mask scores.safetensors --density 0.05 --mask previous.mask.safetensors     # nested
prunecli mask init.safetensors --method synflow --critical        # how far can it go?
prunecli mask pruned.safetensors --method nonzero                 # the zeros that are there
prunecli mask llama/ --method magnitude --pattern 2:4 --ignore '*lm_head*'
"""


def _check(settings: MaskSettings) -> None:
    """Raise BadUsage for what cannot go together, without what it takes to make a mask."""
    settings, method = settings.complete(), method_of(settings.scoring)
    settings.asked(bool(method and method.decides))
    if settings.pattern is not None:
        from prunecli.masks.patterns import Pattern

        Pattern.parse(settings.pattern)


@command(
    "mask",
    product="mask.safetensors",
    reads=lambda settings: scoring_reads(settings.scoring),
    check=_check,
    trusts=True,
    examples=EXAMPLES,
)
@click.argument("scores", type=FILE, metavar="SCORES|CHECKPOINT")
def mask(scores: Path, settings: MaskSettings, run: Seeded, talk: Talk) -> Written | None:
    """Keep the highest scores: exactly round(density * n) of n weights, ties by order.

    Give exactly one of --density, --sparsity, --compression and --critical, or a --pattern. From a
    CHECKPOINT, --method says how to score it. --method nonzero decides by itself: all stays that is
    not exactly zero in the CHECKPOINT, which something else has pruned.
    """
    from prunecli.steps.mask import mask as step

    return done(run, talk, step(scores, settings, told(run, talk)), written)
