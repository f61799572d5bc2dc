"""What pruning costs a training step: dense steps and those of a pruner side by side.

    python benchmarks/training_step.py --model vgg16 --mask 0.1
    python benchmarks/training_step.py --model vgg16 --pruner adaptive --opt density=0.1

Rounds of dense and of other steps take turns, so that what else the machine does falls on both.
Prints the median time of each and the median over rounds of their ratio.
"""

from __future__ import annotations

import argparse
import statistics
import time
from contextlib import suppress

import torch

from prunecli import registry
from prunecli.batches import ImageBatches
from prunecli.device import pick_device, pick_precision, place
from prunecli.masks import prunable
from prunecli.pruners._fixed import Fixed
from prunecli.steps._course import TrainingSet, build_pruner
from prunecli.training import loop
from prunecli.training.settings import Settings
from prunecli.training.state import TrainingState, new_state
from prunecli.types import Images, Pruner


def images(count: int) -> Images:
    pixels = torch.randint(0, 256, (count, 32, 32, 3), dtype=torch.uint8)
    names = [str(label) for label in range(10)]
    return Images(pixels, torch.randint(0, 10, (count,)), names, [0.5] * 3, [0.25] * 3, 4, True)


def started(
    given: argparse.Namespace, dense: bool, settings: Settings, data: Images
) -> TrainingState:
    torch.manual_seed(0)
    model = registry.find("models", given.model)((3, 32, 32), 10)
    device = pick_device(given.device)
    place(model, device)
    pruner = Pruner()
    if not dense and given.pruner:
        options = dict(pair.split("=", 1) for pair in given.opt)
        # Never at the end of it, where masks are made.
        pruner = build_pruner(given.pruner, options, model, TrainingSet(data, device, 0), 10**6)
    elif not dense:
        pruner = Fixed({n: torch.rand(w.shape) < given.mask for n, w in prunable(model).items()})
    return new_state(model, settings, pruner, given.steps)


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
    precision = pick_precision("auto", device)
    data = images(given.steps * given.batch_size)
    batches = ImageBatches(data, device, given.batch_size)
    times: dict[bool, list[float]] = {True: [], False: []}
    settings = Settings(
        epochs=10**6, batch_size=given.batch_size, schedule="constant", precision=precision
    )
    states = {dense: started(given, dense, settings, data) for dense in times}
    for round_ in range(given.rounds + 1):
        for dense, state in states.items():
            began = time.perf_counter()
            epoch(state, batches, settings)
            if round_:  # the first one warms up
                times[dense].append((time.perf_counter() - began) / given.steps)
    plain, other = (statistics.median(times[dense]) for dense in (True, False))
    ratio = statistics.median(o / d for d, o in zip(*times.values(), strict=True))
    print(
        f"{given.model} on {device}, {precision}: dense {1e3 * plain:.1f} ms, "
        f"{given.pruner or 'masked'} {1e3 * other:.1f} ms a step, {100 * (ratio - 1):+.2f}%"
    )


def epoch(state: TrainingState, data: ImageBatches, settings: Settings) -> None:
    """One epoch of a training that has very many."""
    end = state.step + len(data)
    saving = loop.Saving(interrupted=lambda: state.step >= end)
    with suppress(KeyboardInterrupt):
        loop.train(state, data, settings, 0, saving=saving)


if __name__ == "__main__":
    main()
