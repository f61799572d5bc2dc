from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from prunecli.cli.values import Named, Number
from prunecli.errors import BadUsage
from prunecli.plugins.resolve import resolve
from prunecli.settings.density import density_of

if TYPE_CHECKING:
    from prunecli.masks.patterns import Pattern

SCOPES = ("global", "layer", "uniform", "erk")
ROUND_SCHEDULES = ("exponential", "linear")
PRESETS = {"thesis": {"exclude_classifier": True, "count": "model"}}
EXAMPLES = """
prunecli mask ckpt.lamp.scores.safetensors --compression 16
prunecli mask $(prunecli score --method lamp ckpt.safetensors) --sparsity 0.9 --scope layer
prunecli mask init.safetensors --method snip --rounds 10 --density 0.02   # scored every round
prunecli mask scores.safetensors --density 0.05 --mask previous.mask.safetensors     # nested
prunecli mask init.safetensors --method synflow --critical        # how far can it go?
prunecli mask pruned.safetensors --method nonzero                 # the zeros that are there
prunecli mask llama/ --method magnitude --pattern 2:4 --ignore '*lm_head*'
"""


class MaskCommand(Command):
    def verify(self, params: Mapping[str, Any]) -> None:
        pattern_asked(params)
        density_asked(params)
        super().verify(params)


@click.command(
    "mask",
    cls=MaskCommand,
    product="mask.safetensors",
    reads=scoring_reads,
    plugins={**SCORER_PLUGIN, **SOURCE_PLUGIN},
    epilog=examples(EXAMPLES),
)
@click.argument("scores", type=FILE, metavar="SCORES|CHECKPOINT")
@click.option("--density", type=Number(0, 1), help="Fraction of weights to keep.")
@click.option("--sparsity", type=Number(0, 1, "[)"), help="Fraction to remove.")
@click.option("--compression", type=Number(1, ends="[]"), help="All weights over kept weights.")
@click.option("--critical", is_flag=True, help="The highest compression that empties no layer.")
@click.option(
    "--scope",
    type=click.Choice(SCOPES),
    default="global",
    show_default=True,
    help="Choose among all weights, or give each layer its share.",
)
@click.option(
    "--dense",
    multiple=True,
    metavar="PATTERN",
    help="What --scope uniform keeps whole (shell pattern); repeatable.  [default: the network's "
    "first layer, pruned or not]",
)
@click.option(
    "--pattern",
    metavar="unstructured|N:M",
    help="N:M keeps N of every M weights along a layer's inputs.  [default: unstructured]",
)
@click.option("--method", type=Named("scorers"), help="Score a checkpoint on the fly.")
@click.option(
    "--rounds",
    type=click.IntRange(1, 10_000),
    help="Prune in rounds, scoring anew before each.  [default: 1; synflow: 100]",
)
@click.option(
    "--schedule",
    type=click.Choice(ROUND_SCHEDULES),
    help="Of the density over rounds.  [default: exponential]",
)
@click.option(
    "--count",
    type=click.Choice(("scored", "model")),
    help="What the density counts over: the weights that are scored, or all parameters.  "
    "[default: scored]",
)
@click.option(
    "--preset",
    type=click.Choice(tuple(PRESETS)),
    help="thesis: --exclude-classifier --count model, unless --count says otherwise.",
)
@click.option("--mask", type=FILE, help="Keep only what this mask keeps.")
@click.option("--no-dead-layers", is_flag=True, help="Fail if a layer is left without weights.")
@scoring_options
@seed_option
@device_option
@common_options
def mask(scores: Path, **params: Any) -> None:  # fmt: skip
    """Keep the highest scores: exactly round(density * n) of n weights, ties by order.

    Give exactly one of --density, --sparsity, --compression and --critical, or a --pattern. From a
    CHECKPOINT, --method says how to score it. --method nonzero decides by itself: all stays that is
    not exactly zero in the CHECKPOINT, which something else has pruned.
    """
    from prunecli.pruning.selection import Selection
    from prunecli.steps.mask import mask as step

    params |= {k: v for k, v in PRESETS.get(params["preset"], {}).items() if not params[k]}
    selection = Selection(
        density_asked(params),
        params["scope"],
        params["rounds"],
        params["schedule"],
        allow_dead_layers=not params["no_dead_layers"],
        count=params["count"] or "scored",
        pattern=pattern_asked(params),
        dense=params["dense"],
    )
    done(params, step(scores, selection, scoring(params), params["mask"], common(params)))


def pattern_asked(params: Mapping[str, Any]) -> Pattern | None:
    if params["pattern"] is None:
        return None
    from prunecli.masks.patterns import Pattern

    return Pattern.parse(params["pattern"])


def _decides(params: Mapping[str, Any]) -> bool:
    """Whether the method says by itself what stays."""
    method = params["method"]
    return bool(method) and resolve("scorers", method, by_file=False).decides


def density_asked(params: Mapping[str, Any]) -> float | None:
    """The density asked for; None for the critical one, and where a pattern or method decides."""
    given = [n for n in ("density", "sparsity", "compression", "critical") if params[n]]
    given += [n for n in ("sparsity",) if params[n] == 0]
    decides = _decides(params)
    if decides or params["pattern"] not in (None, "unstructured"):
        own = [n for n in ("rounds", "schedule", "preset", "count") if params[n] is not None]
        own += ["scope"] if params["scope"] != "global" else []
        own += ["dense"] if params["dense"] else []
        own += ["pattern"] if decides and params["pattern"] else []
        if odd := given + own:
            what = f"--method {params['method']}" if decides else f"--pattern {params['pattern']}"
            raise BadUsage(f"{what} decides that; leave --{odd[0]} out")
        return None
    if len(given) != 1:
        raise BadUsage("give exactly one of --density, --sparsity, --compression and --critical")
    if params["critical"]:
        if params["mask"]:
            raise BadUsage("--critical looks at the whole network; leave --mask out")
        return None
    return density_of(given[0], float(params[given[0]]))
