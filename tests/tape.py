"""What a CUDA graph does, on a CPU: the operations of some work, done again on the same tensors.

As in a graph, numbers that Python computed are those of the recording, results lie where they lay
then, and asking for a value raises.
"""

from contextlib import contextmanager

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def tensors_in(values):
    return [each for each in tree_leaves(values) if isinstance(each, torch.Tensor)]


def place_of(tensor):
    return tensor.untyped_storage().data_ptr()


class NoWaiting(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("operation not permitted when stream is capturing")
        return func(*args, **kwargs or {})


class Recording(NoWaiting):
    def __init__(self):
        super().__init__()
        self.done, self.found, self.made = [], {}, set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        for tensor in tensors_in((args, kwargs)):
            if place_of(tensor) not in self.made and id(tensor) not in self.found:
                self.found[id(tensor)] = tensor, tensor.clone()
        results = super().__torch_dispatch__(func, types, args, kwargs)
        given = {place_of(tensor) for tensor in tensors_in((args, kwargs))}
        new = [t for t in tensors_in(results) if place_of(t) not in given]
        self.made |= {place_of(tensor) for tensor in new}
        self.done.append((func, args, kwargs or {}, results, new))
        return results

    def undo(self):
        """A recording does nothing."""
        for tensor, value in reversed(self.found.values()):
            tensor.copy_(value)


class Tape:
    """A `replay.Recorder`. `replays` counts them, `lacking` is why there can be none."""

    def __init__(self, lacking=None):
        self.replays, self.recorded, self.lacking = 0, 0, lacking

    def lacks(self):
        return self.lacking

    @contextmanager
    def no_waiting(self):
        with NoWaiting():
            yield

    def record(self, work):
        random = torch.get_rng_state()
        with Recording() as recording:
            results = work()
        with torch.no_grad():
            recording.undo()
        torch.set_rng_state(random)
        self.recorded += 1

        @torch.no_grad()
        def replay():
            self.replays += 1
            for func, args, kwargs, results, new in recording.done:
                again = func(*args, **kwargs)
                for before, now in zip(tensors_in(results), tensors_in(again), strict=True):
                    if any(before is each for each in new):
                        before.copy_(now)

        return replay, results

    def random_state(self):
        return torch.get_rng_state()

    def set_random_state(self, state):
        torch.set_rng_state(state)

    def elsewhere(self):
        return ()

    def set_elsewhere(self, state):
        pass
