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
prunecli mask init.safetensors --method snip --rounds 10 --density 0.02   # scored in each round
prunecli mask scores.safetensors --density 0.05 --mask previous.mask.safetensors     # a subset
prunecli mask init.safetensors --method synflow --critical        # highest compression
prunecli mask pruned.safetensors --method nonzero                 # mask of its zeros
prunecli mask llama/ --method magnitude --pattern 2:4 --ignore '*lm_head*'
"""


def _check(settings: MaskSettings) -> None:
    """Raise BadUsage for options that exclude each other, before any file is read."""
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
    """Make a mask that keeps the highest scores: exactly round(density * n) of n weights.

    Of equal scores, the first are kept. Give exactly one of --density, --sparsity, --compression
    and --critical, or a --pattern. A CHECKPOINT is scored by --method first. --method nonzero needs
    no density: it keeps every weight that is not exactly zero, for a CHECKPOINT pruned elsewhere.
    """
    from prunecli.steps.mask import mask as step

    return done(run, talk, step(scores, settings, told(run, talk)), written)
