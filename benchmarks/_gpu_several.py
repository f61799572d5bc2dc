"""How fast several small trainings are that share one GPU: processes that train side by side."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from _gpu_job import Job, Setup, spread
from _paced import Paced, steady

from prunecli.runtime.device import pick_device

TOGETHER = (1, 2, 4)
BATCH = 128
STEPS = 40
"""Between two looks at the clock, at which the device stands still for a moment."""
SECONDS = 0.8
STRETCHES = 3
PATIENCE = 60.0
"""Seconds after which a process that says nothing hangs."""


def several(setup: Setup) -> Iterator[Job]:
    networks = ("cnn",) if setup.quick else ("resnet20", "cnn")
    for network in networks:
        what = {"network": network}
        yield Job("several", what, 18, partial(_side_by_side, setup, network))


def _side_by_side(setup: Setup, network: str) -> dict[str, Any]:
    """Images a second of so many processes at once, added up."""
    together = (1, 2) if setup.quick else TOGETHER
    seconds = 0.05 if setup.quick else SECONDS
    with ExitStack() as stack:
        crew = [_started(stack, setup, network) for _ in range(max(together))]
        for line in crew:
            _heard(line)  # that it is ready; meanwhile the others get ready too
        rates: dict[int, list[float]] = {}
        for size in together:
            rates[size] = [_at_once(crew[:size], seconds) for _ in range(STRETCHES)]
    medians = {str(size): statistics.median(each) for size, each in rates.items()}
    return {
        "batch": BATCH,
        "images_per_second": medians,
        "spread": max(map(spread, rates.values())),
    }


def _started(stack: ExitStack, setup: Setup, network: str) -> Connection:
    """The line to another process, which ends with the stack."""
    afresh = multiprocessing.get_context("spawn")  # a GPU does not outlive a fork
    line, end = afresh.Pipe()
    process = afresh.Process(target=_train, args=(end, setup, network), daemon=True)
    stack.enter_context(line)
    with closing(end):  # the other process has it: once that has ended, the line is dead
        process.start()
    stack.callback(process.join)
    stack.callback(process.kill)
    return line


def _at_once(crew: list[Connection], seconds: float) -> float:
    for line in crew:
        line.send(seconds)
    return sum(map(_heard, crew))


def _heard(line: Connection) -> float:
    """What a process says next. Raises RuntimeError if it has failed, has ended, or hangs."""
    if not line.poll(PATIENCE):
        raise RuntimeError("one of the processes hangs")
    try:
        said = line.recv()
    except EOFError:
        raise RuntimeError("one of the processes was killed") from None
    if isinstance(said, str):
        raise RuntimeError(f"one of the processes failed: {said}")
    return float(said)


def _train(line: Connection, setup: Setup, network: str) -> None:
    """Say a number when ready; then train for as long as is asked each time, and say how fast."""
    try:
        pick_device(str(setup.device))  # it asks for kernels that repeat their results
        settings = steady(BATCH, "bf16" if setup.on_gpu else "fp32")
        steps = 2 if setup.quick else STEPS
        with Paced(network, setup.images(network), settings, setup.device) as training:
            line.send(training.timed(steps))
            while True:
                line.send(_rate(training, line.recv(), steps))
    except EOFError:
        return  # nobody asks any more
    except Exception as error:
        line.send(f"{type(error).__name__}: {error}")


def _rate(training: Paced, seconds: float, steps: int) -> float:
    """Images a second, over that long and until some steps are done."""
    before, began = training.seen(), time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds:
        training.timed(steps)
    return (training.seen() - before) / passed
