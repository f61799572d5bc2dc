"""What a mask costs a training step: dense and masked steps side by side.

    python benchmarks/masked_step.py --model vgg16 --density 0.1

Rounds of dense and of masked steps take turns, so that what else the machine does falls on both.
Prints the median time of each and the median over rounds of their ratio.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from prunecli import registry
from prunecli.batches import ImageBatches
from prunecli.device import pick_device, pick_precision, place
from prunecli.masks import prunable
from prunecli.pruners._fixed import Fixed
from prunecli.training import loop
from prunecli.training.settings import Settings
from prunecli.training.state import TrainingState, new_state
from prunecli.types import Images, Pruner


def images(count: int) -> Images:
    pixels = torch.randint(0, 256, (count, 32, 32, 3), dtype=torch.uint8)
    names = [str(label) for label in range(10)]
    return Images(pixels, torch.randint(0, 10, (count,)), names, [0.5] * 3, [0.25] * 3, 4, True)


def started(
    name: str, pruned: bool, density: float, settings: Settings, device: torch.device
) -> TrainingState:
    torch.manual_seed(0)
    model = registry.find("models", name)((3, 32, 32), 10)
    place(model, device)
    mask = {n: torch.rand(w.shape) < density for n, w in prunable(model).items()}
    return new_state(model, settings, Fixed(mask) if pruned else Pruner(), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="vgg16")
    parser.add_argument("--density", type=float, default=0.1)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=4, help="in a round")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    device = pick_device(given.device)
    precision = pick_precision("auto", device)
    data = ImageBatches(images(given.steps * given.batch_size), device, given.batch_size)
    times: dict[bool, list[float]] = {False: [], True: []}
    settings = Settings(
        epochs=1, batch_size=given.batch_size, schedule="constant", precision=precision
    )
    states = {p: started(given.model, p, given.density, settings, device) for p in times}
    for round_ in range(given.rounds + 1):
        for pruned, state in states.items():
            state.step = 0
            began = time.perf_counter()
            loop.train(state, data, settings, round_, device)
            if round_:  # the first one warms up
                times[pruned].append((time.perf_counter() - began) / given.steps)
    dense, masked = (statistics.median(times[pruned]) for pruned in (False, True))
    ratio = statistics.median(m / d for d, m in zip(*times.values(), strict=True))
    print(f"{given.model} on {device}, {precision}: dense {1e3 * dense:.1f} ms, masked", end=" ")
    print(f"{1e3 * masked:.1f} ms a step, {100 * (ratio - 1):+.2f}%")


if __name__ == "__main__":
    main()
