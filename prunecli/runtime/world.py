"""Distributed training: the rank of this process, and what the processes exchange."""

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
"""The time to wait for a live process, which may be reading or downloading data. A dead one is
noticed at once, since its connections close."""


@dataclass(frozen=True)
class World:
    """The processes of one training, as one of them sees it. `World()` is a single process.

    All hold the same weights and make the same decisions. They differ in the rows of each batch
    that they compute, and in the random numbers drawn for those. Only rank 0 writes and prints. All
    processes must call methods that exchange something in the same order. These raise
    BadEnvironment if a process is gone, and do nothing in a single process.
    """

    rank: int = 0
    size: int = 1
    gpu: int | None = None
    """The index of this process's GPU on its machine; None for the default GPU."""

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def rows(self, start: int, end: int) -> slice:
        """This process's share of the rows, every `size`-th; it may be empty."""
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
        """Whether the flag is set in any process. Waits for all of them, but for no GPU."""
        return bool(self._highest(int(flag)))

    def wait(self) -> None:
        """Wait until all processes are here."""
        self.any(False)

    @contextmanager
    def leader_first(self) -> Iterator[None]:
        """A context that rank 0 runs first, then the others.

        So bad input is refused only once, and data is downloaded or cached for the others.
        """
        if not self.leads:
            self.wait()
        yield
        if self.leads:
            self.wait()

    def check_told(self, facts: Mapping[str, Any]) -> None:
        """Raise Mismatch, in all processes, unless all have the same facts, which are JSON.

        The message has the differences of the last process that differs from rank 0.
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
        """The maximum over all processes. Waits for all of them, but for no GPU."""
        if self.size == 1:
            return number
        highest = torch.tensor(number)
        with _all_there():
            distributed.all_reduce(highest, distributed.ReduceOp.MAX)
        return int(highest)

    def _from(self, rank: int, text: str) -> str:
        """The text of the process `rank`, in all processes."""
        raw = text.encode() if self.rank == rank else b""
        size = self._highest(len(raw))
        letters = torch.tensor(list(raw.ljust(size)), dtype=torch.uint8)
        with _all_there():
            distributed.broadcast(letters, rank)
        return bytes(letters.tolist()).decode()

    def check_same(self, tensors: Sequence[Tensor]) -> None:
        """Raise Mismatch, in all processes, unless the sum of each tensor is the same in all."""
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
        """Draw different random numbers in each process, within; afterwards the same again."""
        if self.size == 1:
            yield
            return
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(derive_seed(seed, "rank", self.rank))
            yield


@contextmanager
def joined() -> Iterator[World]:
    """Join the processes that torchrun started; without torchrun, a single process.

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
        # After a failure NCCL might wait half an hour for a process that is gone. This process is
        # about to exit, which does not wait.
        if not failed or backends == "gloo":
            distributed.destroy_process_group()


@contextmanager
def _all_there() -> Iterator[None]:
    """Raise BadEnvironment if an exchange fails."""
    try:
        yield
    except RuntimeError as error:
        raise_shortage(error)
        raise BadEnvironment(
            "another process of this training is gone or does not answer; see its own message, if "
            "any, and continue from the last save with --resume"
        ) from error
