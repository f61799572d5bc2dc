"""How fast networks train and are evaluated, and what a pruner adds to a step."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from _gpu_job import Job, LeftOut, Setup, most_memory, spread
from _paced import Paced, steady, timed
from training_step import taking_turns

from prunecli.images.batches import ImageBatches, eval_batch
from prunecli.plugins.resolve import resolve
from prunecli.runtime.device import put_on
from prunecli.training import loop

LARGE: tuple[str, ...] = ("vgg16", "resnet56", "wrn")
NETWORKS: tuple[str, ...] = ("vgg16", "resnet20", "resnet56", "wrn", "mobilenet", "cnn")
COMPILED = {"vgg16": 40, "resnet20": 45, "wrn": 45, "resnet56": 90}
"""By network, the seconds that it takes, most of which the compiler does."""
PRUNERS: dict[str, tuple[str | float, dict[str, Any]]] = {
    "masked": (0.1, {}),
    "fixed-ga": ("fixed-ga", {"density": "0.1"}),
    "adaptive": ("adaptive", {"density": "0.1"}),
    "rigl": ("rigl", {"density": "0.1"}),
}
TEST_IMAGES = 10_000
WARM_UP = 20
STRETCHES = 3
STRETCH = 0.35
"""Seconds that one lasts at least."""
TURN = 100
"""Steps: rigl moves its connections once in so many."""


def training(setup: Setup) -> Iterator[Job]:
    """bfloat16 in full; of float32 what tells most: large networks and batches, by graph.

    By graph is how commands train, so that comes first, and eager steps after it.
    """
    grid: list[tuple[tuple[str, ...], str, int, str]]
    grid = [(NETWORKS, "bf16", batch, mode) for mode in ("graph", "eager") for batch in (512, 128)]
    grid += [(LARGE, "fp32", 512, "graph")]
    if setup.quick:
        grid = [(("cnn",), "fp32", 32, mode) for mode in ("graph", "eager")]
    for networks, precision, batch, mode in grid:
        for network in networks:
            yield _training_job(setup, network, precision, batch, mode, 3)


def compiled(setup: Setup) -> Iterator[Job]:
    networks = {"cnn": 0} if setup.quick else COMPILED
    for network, seconds in networks.items():
        yield _training_job(setup, network, "bf16", 512, "compile", seconds)


def _training_job(
    setup: Setup, network: str, precision: str, batch: int, mode: str, seconds: float
) -> Job:
    what: dict[str, Any] = {
        "network": network,
        "batch": batch,
        "precision": precision,
        "mode": mode,
    }
    return Job("training", what, seconds, partial(_speed, setup, **what))


def _speed(setup: Setup, network: str, batch: int, precision: str, mode: str) -> dict[str, Any]:
    """Images a second of whole epochs, or of as many steps where an epoch takes long."""
    if mode == "graph" and not setup.on_gpu:
        raise LeftOut("only a GPU has CUDA graphs")
    if mode == "compile" and setup.quick:
        raise LeftOut("compiling takes longer than all of the miniature")
    data, settings = setup.images(network), steady(batch, precision, mode == "compile")
    with Paced(network, data, settings, setup.device, graphs=mode != "eager") as paced:
        rates = _rates(paced, 0.01 if setup.quick else STRETCH)
    figures = {
        "images_per_second": statistics.median(rates),
        "spread": spread(rates),
        "memory": most_memory(setup.device),
    }
    return figures | ({"notes": paced.told.notes} if paced.told.notes else {})


def _rates(paced: Paced, seconds: float) -> list[float]:
    """Images a second in each of some stretches, once it is warm."""
    epoch = len(paced.batches)
    paced.go(WARM_UP)
    step = paced.timed(WARM_UP) / WARM_UP
    steps = math.ceil(seconds / step)
    if epoch * step < 2 * seconds:
        paced.go(epoch - paced.state.step % epoch)
        steps = epoch * math.ceil(steps / epoch)
    rates = []
    for _ in range(STRETCHES):
        before = paced.seen()
        passed = paced.timed(steps)
        rates.append((paced.seen() - before) / passed)
    return rates


def pruners(setup: Setup) -> Iterator[Job]:
    grid = {"resnet56": [*PRUNERS], "vgg16": [*PRUNERS], "cnn": ["masked", "rigl"]}
    for network, names in {"cnn": [*PRUNERS]}.items() if setup.quick else grid.items():
        for pruner in names:
            what = {"network": network, "pruner": pruner}
            yield Job("pruners", what, 4, partial(_cost, setup, **what))


def _cost(setup: Setup, network: str, pruner: str) -> dict[str, Any]:
    """What a step costs with the pruner, in percent of a dense one, the two taking turns."""
    batch, precision = (32, "fp32") if setup.quick else (128, "bf16")
    data, settings = setup.images(network), steady(batch, precision)
    how, options = PRUNERS[pruner]
    pruned = Paced(network, data, settings, setup.device, pruner=how, options=options)
    with Paced(network, data, settings, setup.device) as dense, pruned:
        steps = 2 if setup.quick else TURN
        plain, other, ratios = taking_turns(dense, pruned, steps, STRETCHES)
    figures = {
        "batch": batch,
        "precision": precision,
        "dense_ms": 1e3 * plain,
        "ms": 1e3 * other,
        "percent_more": 100 * (statistics.median(ratios) - 1),
        "spread": spread(ratios),
    }
    return figures | ({"notes": pruned.told.notes} if pruned.told.notes else {})


def evaluation(setup: Setup) -> Iterator[Job]:
    networks = ("cnn",) if setup.quick else ("vgg16", "resnet56")
    for network in networks:
        yield Job("evaluation", {"network": network}, 3, partial(_evaluated, setup, network))


def _evaluated(setup: Setup, network: str) -> dict[str, Any]:
    """Images a second of evaluations of a test set."""
    precision = "fp32" if setup.quick else "bf16"
    whole = setup.images(network)
    count = min(TEST_IMAGES, len(whole.labels))
    part = torch.arange(count)
    test = replace(whole, images=whole.images[part], labels=whole.labels[part])
    torch.manual_seed(0)
    model = put_on(resolve("models", network, by_file=False)(test.input_shape, 10), setup.device)
    batches = ImageBatches(test, setup.device, eval_batch(setup.device, test.input_shape))

    def once() -> None:
        loop.evaluate(model, batches, precision, setup.device)

    once()
    rates = [count / timed(once, setup.device) for _ in range(2 * STRETCHES)]
    return {
        "images": count,
        "precision": precision,
        "images_per_second": statistics.median(rates),
        "spread": spread(rates),
        "memory": most_memory(setup.device),
    }
