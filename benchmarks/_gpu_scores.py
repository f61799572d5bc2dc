"""How long masks take: by methods that score a network on the device, and of very many scores."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from _gpu_job import FEW, GREY, Job, LeftOut, Setup
from _paced import timed
from compare import torchs_masks
from torch import Tensor
from torchvision.models import resnet50

from prunecli.files.artifacts import open_artifact
from prunecli.masks.select import select
from prunecli.network.layers import prunable
from prunecli.runtime.machine import memory
from prunecli.scoring.scored import Scored
from prunecli.settings.data import DataSettings
from prunecli.settings.mask import MaskSettings
from prunecli.settings.run import RunOptions
from prunecli.settings.scoring import ScoringSettings
from prunecli.settings.train import ModelSettings, TrainingSettings
from prunecli.steps.mask import mask
from prunecli.steps.train import train

METHODS = {"snip": 3.0, "grasp": 5.0, "synflow": 30.0}
DENSITY = 0.1
TURNS = 3
NEEDED = 16 << 30
"""Bytes of memory for a billion scores, their masks, and what comes and goes meanwhile."""


def scores(setup: Setup) -> Iterator[Job]:
    """Masks by scores of a network, as `prunecli mask CHECKPOINT --method` makes them."""
    networks = ("cnn",) if setup.quick else ("resnet56", "vgg16")
    for network in networks:
        for method, seconds in METHODS.items():
            what = {"network": network, "method": method}
            yield Job("scores", what, seconds, partial(_step, setup, **what))


def _step(setup: Setup, network: str, method: str) -> dict[str, Any]:
    """Seconds of the whole step, from file to file, and of scoring once."""
    path = f"_pixels:{'mnist' if network in GREY else 'cifar'}"
    source = DataSettings(path, {"count": FEW} if setup.quick else {})
    rounds = 3 if setup.quick and method == "synflow" else None
    selection, scoring = (
        MaskSettings(density=DENSITY, rounds=rounds),
        ScoringSettings(method, data=source),
    )
    with tempfile.TemporaryDirectory() as folder:
        start, output = (Path(folder, f"{n}.safetensors") for n in ("init", "mask"))
        run = RunOptions(output, force=True, device=str(setup.device), seed=0)
        fresh = TrainingSettings(model=ModelSettings(network), data=source, given={"epochs": 0})
        train(fresh, RunOptions(start, device=str(setup.device), seed=0))
        scored = Scored(open_artifact(start, "checkpoint"), scoring, run)

        def whole() -> None:
            mask(start, replace(selection, scoring=scoring), run)

        turns = 2 if setup.quick else 1 + TURNS
        alone = [timed(lambda: scored(None), setup.device) for _ in range(turns)]
        in_rounds = method == "synflow"  # so many that the first warms up for the others
        steps = [timed(whole, setup.device) for _ in range(1 if in_rounds else turns)]
    return {
        "rounds": (rounds or 100) if in_rounds else 1,
        "seconds": statistics.median(steps[1:] or steps),
        "scoring_once": statistics.median(alone[1:]),
    }


def masks(setup: Setup) -> Iterator[Job]:
    """Global masks of given scores, on the GPU and, the smaller ones, on the CPU.

    Torch sorts: on a CPU, of a billion, for minutes.
    """
    sizes = {"small": 1.0} if setup.quick else {"resnet50": 3.0, "1 B": 12.0}
    for size, seconds in sizes.items():
        places = [str(setup.device)] if size == "1 B" else [str(setup.device), "cpu"]
        for where in dict.fromkeys(places):
            for who in ("prunecli", "torch"):
                what = {"scores": size, "who": who, "where": where}
                yield Job("masks", what, seconds, partial(_masks, setup, **what))


def _masks(setup: Setup, scores: str, who: str, where: str) -> dict[str, Any]:
    """Seconds, from scores to masks that are where the scores are."""
    if scores == "1 B" and memory() < NEEDED:
        raise LeftOut(f"it takes {NEEDED >> 30} GiB of memory, and there are {memory() >> 30}")
    given = {name: each.to(where) for name, each in _drawn(scores, setup.device)}
    work = partial(_ours if who == "prunecli" else _torchs, given)
    found: list[Tensor] = []

    def once() -> None:
        found[:] = work()

    slow = scores == "1 B" or (scores, who, where) == ("resnet50", "torch", "cpu")
    times = [timed(once, torch.device(where)) for _ in range(1 if slow else 1 + TURNS)]
    return {
        "total": sum(each.numel() for each in given.values()),
        "kept": sum(int(bits.count_nonzero()) for bits in found),
        "seconds": statistics.median(times[1:] or times),
    }


def _ours(scores: dict[str, Tensor]) -> list[Tensor]:
    chosen = select({name: each.cpu() for name, each in scores.items()}, DENSITY)
    return [chosen[name].to(each.device) for name, each in scores.items()]


def _torchs(scores: dict[str, Tensor]) -> list[Tensor]:
    """Without asking for kernels that repeat their results, which it does not need."""
    asked = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        return torchs_masks(scores, DENSITY)
    finally:
        torch.use_deterministic_algorithms(asked, warn_only=True)


def _drawn(scores: str, device: torch.device) -> Iterator[tuple[str, Tensor]]:
    """The same for all who are to choose among them."""
    draw = torch.Generator(device).manual_seed(0)
    for number, shape in enumerate(_shapes(scores)):
        yield str(number), torch.randn(shape, device=device, generator=draw).abs_()


def _shapes(scores: str) -> list[tuple[int, ...]]:
    if scores == "resnet50":
        with torch.device("meta"):
            return [tuple(weight.shape) for weight in prunable(resnet50()).values()]
    return [(50_000_000,)] * 20 if scores == "1 B" else [(100, 100)] * 2
