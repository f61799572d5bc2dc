"""A process that runs jobs of a study one after the other; `engines` starts it."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

from prunecli.cli.streams import open_streams
from prunecli.cli.study.steps import do
from prunecli.errors import PruneError
from prunecli.plugins.trust import trust
from prunecli.recipe.plan import Job
from prunecli.runtime.progress import Progress

EVERY = 0.2
"""Seconds between two progress reports of a job."""


class Relay(Progress):
    """Passes on the messages and progress of a job."""

    def __init__(self, answer: Any) -> None:
        self.answer, self.next = answer, 0.0

    def say(self, message: str) -> None:
        self._tell("say", message)

    def detail(self, message: str) -> None:
        self._tell("detail", message)

    def warn(self, message: str) -> None:
        self._tell("warn", message)

    def advance(self, label: str, done: int, total: int, **facts: Any) -> None:
        if done == total or time.monotonic() >= self.next:
            self.next = time.monotonic() + EVERY
            self._tell("advance", label, done, total)

    def _tell(self, name: str, *what: Any) -> None:
        self.answer({"tell": name, "with": what})


def main(names: Sequence[str] = ()) -> None:
    """Run jobs until there are no more. `names` lists trusted code."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    open_streams()
    with suppress(KeyboardInterrupt):  # one that came too late for the job that it was meant for
        trust(names)
        _serve()


def _serve() -> None:
    # Standard output is for answers alone: whatever else is printed goes to standard error.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(what: dict[str, Any]) -> None:
        try:
            answers.write(json.dumps(what) + "\n")
            answers.flush()
        except BrokenPipeError:
            os._exit(0)  # nobody is left to hear it

    orders: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_read, args=(orders,), daemon=True).start()
    while True:
        order = json.loads(orders.get())
        relay = Relay(answer)
        ended = _done(Job.of(order), relay)
        try:
            _let_go()
        except RuntimeError as error:
            # After some of CUDA's errors a process can do no more: the next job gets another one.
            relay.warn(ended["ended"] or str(error).partition("\n")[0])
            os._exit(1)
        answer(ended)


def _read(orders: SimpleQueue[str]) -> None:
    """Take orders until nobody is left to give them; then a job under way is of no use either."""
    for line in sys.stdin:
        if line.endswith("\n"):  # and was not cut off
            orders.put(line)
    os._exit(0)


def _done(job: Job, progress: Progress) -> dict[str, Any]:
    """Run a job; returns the files it wrote, or why it failed."""
    try:
        return {"ended": None, "wrote": do(job, progress)}
    except PruneError as error:
        return {"ended": str(error)}
    except KeyboardInterrupt:
        return {"ended": "interrupted"}


def _let_go() -> None:
    """Free GPU memory for other processes. Loads nothing that no job needed."""
    if "torch" in sys.modules:
        from prunecli.runtime.device import let_go

        let_go()
