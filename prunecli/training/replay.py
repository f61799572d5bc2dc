"""Work that is the same at every step: launched kernel by kernel at first, then replayed.

A GPU runs the step of a small network faster than Python can launch its kernels. A step recorded as
a CUDA graph is launched at once, and gives exactly the same numbers.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor

from prunecli.network.modules import cause

Work = Callable[[], list[Tensor]]
Elsewhere = tuple[Any, ...]
WARM_UP = 3
"""Times that work is done before it is recorded, since libraries do extra work at first."""


class Recorder(Protocol):
    """Records the work of a device."""

    def lacks(self) -> str | None:
        """Why nothing can be recorded now, if so."""

    def no_waiting(self) -> AbstractContextManager[None]:
        """A context in which waiting for the device raises an error."""

    def record(self, work: Work) -> tuple[Callable[[], None], list[Tensor]]:
        """A function that repeats the work, and the tensors that then hold its results."""

    def random_state(self) -> Tensor:
        """The state of the device's random numbers."""

    def set_random_state(self, state: Tensor) -> None:
        """Set the state of the device's random numbers."""

    def elsewhere(self) -> Elsewhere:
        """The state of the random number generators that cannot be recorded."""

    def set_elsewhere(self, state: Elsewhere) -> None:
        """Set the state of these generators."""


class CudaGraphs:
    """Records on the current stream, which may not be the default one; see `on_own_stream`."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def lacks(self) -> str | None:
        """A lack of memory, if so: a recording keeps all memory that its work needs."""
        free, _ = torch.cuda.mem_get_info(self.device)
        scarce = torch.cuda.memory_reserved(self.device) > free
        return "the GPU lacks the memory to record a step" if scarce else None

    @contextmanager
    def no_waiting(self) -> Iterator[None]:
        before = torch.cuda.get_sync_debug_mode()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that this does not see everything
            torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode(before)

    def record(self, work: Work) -> tuple[Callable[[], None], list[Tensor]]:
        graph = torch.cuda.CUDAGraph()
        try:
            with self._recording(graph):
                results = work()
        except Exception:
            # If CUDA broke it off, torch takes the generator to be within it still, and would draw
            # no number from then on. A recording that ends ends that too.
            with self._recording(torch.cuda.CUDAGraph()):
                torch.zeros((), device=self.device)
            raise
        return graph.replay, results

    def _recording(self, graph: torch.cuda.CUDAGraph) -> AbstractContextManager[None]:
        stream = torch.cuda.current_stream(self.device)
        # Other threads, which read images ahead, may do as they like meanwhile.
        return torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local")

    def random_state(self) -> Tensor:
        return torch.cuda.get_rng_state(self.device)

    def set_random_state(self, state: Tensor) -> None:
        torch.cuda.set_rng_state(state, self.device)

    def elsewhere(self) -> Elsewhere:
        kind, key, *rest = cast(tuple[Any, ...], np.random.get_state())
        on_cpu = torch.get_rng_state().numpy().tobytes()
        return random.getstate(), (kind, key.tobytes(), *rest), on_cpu

    def set_elsewhere(self, state: Elsewhere) -> None:
        of_python, (kind, key, *rest), on_cpu = state
        random.setstate(of_python)
        np.random.set_state((kind, np.frombuffer(key, np.uint32), *rest))
        torch.set_rng_state(torch.frombuffer(bytearray(on_cpu), dtype=torch.uint8))


def recorder_of(device: torch.device) -> Recorder | None:
    """The recorder for a device, if there is one."""
    return CudaGraphs(device) if device.type == "cuda" else None


@contextmanager
def on_own_stream(device: torch.device) -> Iterator[None]:
    """Have a GPU's work queued, within, where it can be recorded; it goes on in order after."""
    if device.type != "cuda":
        yield
        return
    with torch.cuda.device(device):
        own = _stream(device)
        usual = torch.cuda.current_stream(device)
        own.wait_stream(usual)
        try:
            with torch.cuda.stream(own):
                yield
        finally:
            usual.wait_stream(own)


@cache
def _stream(device: torch.device) -> Any:
    """A stream, the same for all trainings: memory that was freed on one serves no other."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


class Replayed:
    """Work that is done a few times, then recorded, checked and replayed.

    `work` gives tensors, and may change those that `changes` names, besides its results. It reads
    the same tensors each time. Whether it can be recorded is found out by trying: it may not wait
    for the device nor draw random numbers elsewhere, and the first replay must come to the same
    bits as doing the work did. Otherwise it is done as ever. `told` is given what came of it.
    """

    def __init__(
        self,
        name: str,
        work: Work,
        changes: Callable[[], Sequence[Tensor]],
        recorder: Recorder | None,
        told: Callable[[str], None],
    ) -> None:
        self.name, self.work, self.changes = name, work, changes
        self.recorder, self.told = recorder, told
        self.done = 0
        self.replay: Callable[[], None] | None = None
        self.results: list[Tensor] = []

    @property
    def may_replay(self) -> bool:
        """Whether it is replayed, or can still be."""
        return self.recorder is not None

    def __call__(self) -> list[Tensor]:
        if self.replay is not None:
            self.replay()
            return self.results
        self.done += 1
        if self.recorder is None or self.done <= WARM_UP:
            return self.work()
        if lacking := self.recorder.lacks():
            self._give_up(lacking)
            return self.work()
        return self._recorded(self.recorder)

    def _give_up(self, why: str) -> None:
        """Do the work without a recording from now on."""
        self.replay = self.recorder = None
        self.results = []
        self.told(f"{self.name} are not replayed as a CUDA graph: {why}")

    def _recorded(self, recorder: Recorder) -> list[Tensor]:
        """Do the work, record it, and check that the recording does the same."""
        before = _State(self.changes(), recorder)
        try:
            with recorder.no_waiting():
                results = _copies(self.work())
        except Exception as error:  # if it was for another reason, it comes up again
            before.restore()
            self._give_up(cause(error))
            return self.work()
        after = _State(self.changes(), recorder)
        if why := _unlike(before, after):
            self._give_up(why)
            return results
        before.restore()
        try:
            replay, recorded = recorder.record(self.work)
            replay()
            same = after.is_now() and _equal(recorded, results)
            why = "" if same else "a replay gives different bits"
        except Exception as error:
            why = cause(error)
        if why:
            after.restore()
            self._give_up(why)
            return results
        self.replay, self.results = replay, recorded
        self.told(f"{self.name} are replayed as a CUDA graph from here on")
        return recorded


class _State:
    """A copy of the state that the work can change."""

    def __init__(self, tensors: Sequence[Tensor], recorder: Recorder) -> None:
        self.tensors, self.recorder = tensors, recorder
        self.values = _copies(tensors)
        self.addresses = [tensor.data_ptr() for tensor in tensors]
        self.random = recorder.random_state()
        self.elsewhere = recorder.elsewhere()

    @torch.no_grad()
    def restore(self) -> None:
        for tensor, value in zip(self.tensors, self.values, strict=True):
            tensor.copy_(value)
        self.recorder.set_random_state(self.random)
        self.recorder.set_elsewhere(self.elsewhere)

    def is_now(self) -> bool:
        same = torch.equal(self.random, self.recorder.random_state())
        return same and _equal(self.tensors, self.values)


def _unlike(before: _State, after: _State) -> str:
    """The reason why work that came from one to the other cannot be recorded; "" if none."""
    if after.elsewhere != before.elsewhere:
        return "the network draws random numbers on the CPU"
    if after.addresses != before.addresses:  # a replay would read the old
        return "the network puts other tensors in place of its buffers"
    return ""


def _copies(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [tensor.detach().clone() for tensor in tensors]


def _equal(one: Sequence[Tensor], two: Sequence[Tensor]) -> bool:
    return len(one) == len(two) and all(map(torch.equal, one, two))
