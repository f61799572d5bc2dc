"""One training on several processes: the rank of this one, and what they exchange."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed

from prunecli.errors import BadEnvironment, Mismatch
from prunecli.runtime.facts import canonical, differences
from prunecli.runtime.seeds import derive_seed
from prunecli.runtime.shortage import raise_shortage

PATIENCE = timedelta(minutes=30)
"""Time to wait for one that is alive: it may be reading or downloading data. One that is dead is
seen at once, since its connections close."""


@dataclass(frozen=True)
class World:
    """The processes of one training, as one of them sees it. `World()` is a process on its own.

    All hold the same weights and decide the same; they differ in the rows of each batch that they
    compute, and in the random numbers that they draw meanwhile. Only rank 0 writes and
    prints. Whatever exchanges something is called by all processes, in the same order, and raises
    BadEnvironment if one of them is gone; in a process on its own it does nothing.
    """

    rank: int = 0
    size: int = 1
    gpu: int | None = None
    """The GPU of its machine that is this process's; None for the default one."""

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def rows(self, start: int, end: int) -> slice:
        """The rows of these that are this process's; there may be none."""
        return slice(start + self.rank, end, self.size)

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Set each tensor to its sum over all processes, in one exchange."""
        if self.size == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with _all_there():
            distributed.all_reduce(flat)
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view(tensor.shape))

    def any(self, flag: bool) -> bool:
        """Whether the flag is up in any process. Waits for all of them, but for no GPU."""
        return bool(self._highest(int(flag)))

    def wait(self) -> None:
        """Wait until all processes are here."""
        self.any(False)

    @contextmanager
    def leader_first(self) -> Iterator[None]:
        """A context in which rank 0 goes first and the others follow.

        It refuses bad input once for all, and has downloaded or cached what the others need.
        """
        if not self.leads:
            self.wait()
        yield
        if self.leads:
            self.wait()

    def check_told(self, facts: Mapping[str, Any]) -> None:
        """Raise Mismatch, in all processes, unless all have these same facts, which are JSON.

        Each names what differs, of the last process where something does.
        """
        if self.size == 1:
            return
        leaders = json.loads(self._from(0, canonical(facts)))
        changed = differences(leaders, json.loads(canonical(facts)))
        if odd := self._highest(self.rank if changed else 0):
            said = [
                f"{where} is {own!r} in process {odd}, {leading!r} in process 0"
                for where, leading, own in changed
            ]
            raise Mismatch(
                "the processes of this training have different settings: "
                f"{self._from(odd, '; '.join(said))}; start all with the same options and files"
            )

    def _highest(self, number: int) -> int:
        """The highest that any process says. Waits for all of them, but for no GPU."""
        if self.size == 1:
            return number
        highest = torch.tensor(number)
        with _all_there():
            distributed.all_reduce(highest, distributed.ReduceOp.MAX)
        return int(highest)

    def _from(self, rank: int, text: str) -> str:
        """The text of that process, in all of them."""
        raw = text.encode() if self.rank == rank else b""
        size = self._highest(len(raw))
        letters = torch.tensor(list(raw.ljust(size)), dtype=torch.uint8)
        with _all_there():
            distributed.broadcast(letters, rank)
        return bytes(letters.tolist()).decode()

    def check_same(self, tensors: Sequence[Tensor]) -> None:
        """Raise Mismatch, in all processes, unless these tensors are the same in all, by sums."""
        if self.size == 1:
            return
        own = torch.stack([tensor.detach().double().sum().cpu() for tensor in tensors])
        leaders = own.clone()
        with _all_there():
            distributed.broadcast(leaders, 0)
        if self.any(not torch.equal(own, leaders)):
            raise Mismatch(
                "the processes of this training have different weights; give all of them the same "
                "files, on machines of the same kind"
            )

    @contextmanager
    def apart(self, seed: int, device: torch.device) -> Iterator[None]:
        """Have each process, within, draw random numbers of its own; after, all draw the same."""
        if self.size == 1:
            yield
            return
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(derive_seed(seed, "rank", self.rank))
            yield


@contextmanager
def joined() -> Iterator[World]:
    """The processes that torchrun started together; this one alone, if it did not.

    Raises BadEnvironment if they do not find each other.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":
        yield World()
        return
    backends = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        distributed.init_process_group(backends, timeout=PATIENCE)
        gpu = int(os.environ.get("LOCAL_RANK", "0"))
    except (RuntimeError, ValueError) as error:
        raise_shortage(error)
        raise BadEnvironment(
            f"the processes of this training did not find each other ({error}); start them with "
            "torchrun, or unset WORLD_SIZE"
        ) from None
    failed = True
    try:
        yield World(distributed.get_rank(), distributed.get_world_size(), gpu)
        failed = False
    finally:
        # After a failure NCCL might wait, for half an hour, for a process that is gone; the end of
        # this one, which is near, does not.
        if not failed or backends == "gloo":
            distributed.destroy_process_group()


@contextmanager
def _all_there() -> Iterator[None]:
    """Raise BadEnvironment where an exchange fails."""
    try:
        yield
    except RuntimeError as error:
        raise_shortage(error)
        raise BadEnvironment(
            "another process of this training is gone or does not answer; see its own message, if "
            "any, and continue from the last save with --resume"
        ) from error
