"""How fast several small trainings are that share one GPU: processes that train side by side.

Run as a program it is one of them: `_gpu_several.py NETWORK DEVICE`. It says 'ready', and for each
line with a number of seconds that it reads, trains as long and says how many images a second.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from threading import Timer
from typing import IO, Any

from _gpu_job import Job, Setup, spread
from _paced import Paced, settle, steady

from prunecli.device import pick_device

TOGETHER = (1, 2, 4)
BATCH = 128
WARM_UP = 20
STEPS = 40
"""Between two looks at the clock, at which the device stands still for a moment."""
SECONDS = 0.8
STRETCHES = 3
PATIENCE = 90.0
"""Seconds after which a process that has not ended hangs."""


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
        crew = [stack.enter_context(_Other(setup, network)) for _ in range(max(together))]
        for each in crew:
            each.hear()  # that it is ready; meanwhile the others get ready too
        rates: dict[int, list[float]] = {}
        for size in together:
            rates[size] = [_at_once(crew[:size], seconds) for _ in range(STRETCHES)]
    medians = {str(size): statistics.median(each) for size, each in rates.items()}
    return {
        "batch": BATCH,
        "images_per_second": medians,
        "spread": max(map(spread, rates.values())),
    }


def _at_once(crew: list[_Other], seconds: float) -> float:
    for each in crew:
        each.tell(str(seconds))
    return sum(float(each.hear()) for each in crew)


class _Other:
    """Another process, which trains when it is told to. Leave it to end it."""

    def __init__(self, setup: Setup, network: str) -> None:
        self.errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed on leaving it
        command = [sys.executable, __file__, network, str(setup.device)]
        self.process = subprocess.Popen(
            [*command, "--quick"] if setup.quick else command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )
        self.alarm = Timer(PATIENCE, self.process.kill)

    def __enter__(self) -> _Other:
        self.alarm.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self.alarm.cancel()
        self.process.kill()
        self.process.communicate()
        self.errors.close()

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        """Its next line. Raises RuntimeError with what it said last if it has ended."""
        assert self.process.stdout is not None
        if line := self.process.stdout.readline():
            return line.strip()
        self.errors.seek(0)
        said = self.errors.read().decode(errors="replace").strip().splitlines()
        raise RuntimeError(f"one of the processes ended: {said[-1] if said else 'it was killed'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network")
    parser.add_argument("device")
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    setup = Setup(pick_device(given.device), given.quick)
    settings = steady(BATCH, "bf16" if setup.on_gpu else "fp32")
    with Paced(given.network, setup.images(given.network), settings, setup.device) as training:
        training.go(WARM_UP)
        settle(setup.device)
        print("ready", flush=True)
        for line in sys.stdin:
            print(_rate(training, float(line), 2 if setup.quick else STEPS), flush=True)


def _rate(training: Paced, seconds: float, steps: int) -> float:
    """Images a second, over that long and until some steps are done."""
    before, began = training.seen(), time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds:
        training.timed(steps)
    return (training.seen() - before) / passed


if __name__ == "__main__":
    main()
