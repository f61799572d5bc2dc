"""Jobs in worker processes, which stay for the next job: torch and the data load only once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import asdict
from queue import LifoQueue

from prunecli.errors import PruneError
from prunecli.files.reading import Identity
from prunecli.recipe.plan import Job
from prunecli.recipe.records import Wrote
from prunecli.runtime.progress import Progress


class Worker:
    """One process. It takes jobs as lines of JSON, and answers in lines of JSON.

    A job is a table of what `Job` has. While it is done come {"tell": NAME, "with": [...]}, a call
    of its progress, and at last {"ended": null, "wrote": ...} or {"ended": REASON}. When its
    standard input ends, as it does when this process dies however it may, the worker ends too.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        # A session of its own: a Ctrl-C at the terminal is for this process to pass on.
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
            start_new_session=True,
        )
        self.busy = self.stopping = False

    def do(self, job: Job, progress: Progress) -> Wrote:
        """Run a job. Raises PruneError with why it failed, or how its process ended."""
        self.busy = True
        order = json.dumps(asdict(job), default=str)
        assert self.process.stdin is not None and self.process.stdout is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(order + "\n")
            self.process.stdin.flush()
        for line in self.process.stdout:
            answer = json.loads(line)
            if "ended" in answer:
                self.busy = False
                if answer["ended"] is not None:
                    raise PruneError(answer["ended"])
                return {name: Identity(*own) for name, own in answer.get("wrote", {}).items()}
            getattr(progress, answer["tell"])(*answer["with"])
        raise PruneError(_death(self.process.wait()))

    @property
    def lives(self) -> bool:
        return self.process.poll() is None

    def interrupt(self) -> None:
        """Ask the job to stop and save its state; a second signal would stop it at once."""
        if self.busy and not self.stopping:
            self.stopping = True
            self.process.send_signal(signal.SIGINT)

    def end(self) -> None:
        """End the process. An idle worker ends by itself; a busy one is killed."""
        assert self.process.stdin is not None and self.process.stdout is not None
        if self.busy:
            self.process.kill()
        with suppress(OSError):
            self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def _death(code: int) -> str:
    if code < 0:
        return f"its process was killed by {signal.Signals(-code).name}"
    return f"its process ended with code {code}"


class Workers:
    """An engine of `slots` worker processes; each is started when there is a job for it.

    `environment` gives what is set in the environment of the worker in each slot.
    """

    def __init__(
        self, command: Sequence[str], slots: int, environment: Callable[[int], Mapping[str, str]]
    ) -> None:
        self.command, self.slots, self.environment = command, slots, environment
        self.threads = ThreadPoolExecutor(slots)
        self.futures: set[Future[Wrote]] = set()
        self.workers: dict[int, Worker] = {}
        self.free: LifoQueue[int] = LifoQueue()  # the warmest first
        for slot in reversed(range(slots)):
            self.free.put(slot)

    def submit(self, job: Job, progress: Progress) -> Future[Wrote]:
        future = self.threads.submit(self._do, job, progress)
        self.futures.add(future)
        future.add_done_callback(self.futures.discard)
        return future

    def _do(self, job: Job, progress: Progress) -> Wrote:
        slot = self.free.get()
        try:
            worker = self.workers.get(slot)
            if worker is None or not worker.lives:
                worker = self.workers[slot] = Worker(self.command, self.environment(slot))
            return worker.do(job, progress)
        finally:
            self.free.put(slot)

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        """After an error, ask the jobs to stop first; a second interrupt kills them."""
        try:
            while kind is not None and self.futures:
                for worker in list(self.workers.values()):  # also one that was about to start
                    worker.interrupt()
                wait(list(self.futures), timeout=0.2)
        finally:
            for worker in self.workers.values():
                worker.end()
            self.threads.shutdown()
