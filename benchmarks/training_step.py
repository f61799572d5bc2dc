"""What pruning costs a training step: dense steps and those of a pruner side by side.

    python benchmarks/training_step.py --model vgg16 --mask 0.1
    python benchmarks/training_step.py --model vgg16 --pruner adaptive --opt density=0.1

Rounds of dense and of other steps take turns, so that what else the machine does falls on both.
Prints the median time of each and the median over rounds of their ratio.
"""

from __future__ import annotations

import argparse
import statistics

from _paced import Paced, steady
from _pixels import CIFAR, images

from prunecli.runtime.device import pick_device, pick_precision


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="vgg16")
    parser.add_argument("--mask", type=float, default=0.1, help="density of a fixed random mask")
    parser.add_argument("--pruner", help="in place of a fixed mask")
    parser.add_argument("--opt", action="append", default=[], help="option of the pruner, K=V")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=8, help="in a round")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    device = pick_device(given.device)
    settings = steady(given.batch_size, pick_precision("auto", device))
    data = images(**CIFAR | {"count": given.steps * given.batch_size})
    options = dict(pair.split("=", 1) for pair in given.opt)
    pruner = given.pruner or given.mask
    pruned = Paced(given.model, data, settings, device, pruner=pruner, options=options)
    with Paced(given.model, data, settings, device) as dense, pruned:
        plain, other, ratios = taking_turns(dense, pruned, given.steps, given.rounds)
    print(
        f"{given.model} on {device}, {settings.precision}: dense {1e3 * plain:.1f} ms, "
        f"{given.pruner or 'masked'} {1e3 * other:.1f} ms a step, "
        f"{100 * (statistics.median(ratios) - 1):+.2f}%"
    )


def taking_turns(
    dense: Paced, pruned: Paced, steps: int, rounds: int
) -> tuple[float, float, list[float]]:
    """Median seconds of a step of both, and the ratios within the rounds; one more warms up."""
    for training in (dense, pruned):
        training.go(steps)
    times = [(dense.timed(steps), pruned.timed(steps)) for _ in range(rounds)]
    plain, other = (statistics.median(each) / steps for each in zip(*times, strict=True))
    return plain, other, [theirs / own for own, theirs in times]


if __name__ == "__main__":
    main()
