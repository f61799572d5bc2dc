"""A mask held on a model in a training loop of your own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from prunecli.api.pruning import GivenMask, fitted
from prunecli.errors import BadUsage
from prunecli.masks.mask import aligned, apply_
from prunecli.types import Mask, Params


@contextmanager
def held(model: nn.Module, mask: GivenMask, *optimizers: Optimizer) -> Iterator[None]:
    """Hold a mask in a `with` block: pruned weights are exactly +0.0 after every optimizer step.

    They are zero from the start of the block, and so is the optimizers' state of them, such as
    momentum. After the block, only the zeros remain. If `model.to` or `load_state_dict` moves or
    replaces weights inside the block, the new ones are held from the next step on.

    - GradScaler: a step that it skips changes no weights, so nothing needs to be held.
    - DistributedDataParallel: give the model wrapped or not; each process holds the same mask.
    - torch.compile: give the model compiled or not. Do not compile `optimizer.step` itself.
    - FSDP and others that shard parameters: Mismatch, because the mask does not fit the shards.

    Raises Mismatch if the mask does not fit, and BadUsage if no optimizer changes its weights.

    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3))
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    >>> mask = prunecli.mask(model, "magnitude", density=0.5)
    >>> with prunecli.held(model, mask, optimizer):
    ...     for _ in range(3):
    ...         optimizer.zero_grad()
    ...         model(torch.randn(8, 4)).square().sum().backward()
    ...         optimizer.step()
    >>> int(model[0].weight.count_nonzero())
    6
    """
    holding = _Holding(_own(model), mask)
    if not any(holding.within(optimizer) for optimizer in optimizers):
        raise BadUsage(
            "give held() the optimizers that change the masked weights, which these do not"
        )
    with ExitStack() as hooks:
        for optimizer in optimizers:
            holding.hold(optimizer)
            hooks.callback(optimizer.register_step_post_hook(holding.hold).remove)
        yield


def _own(model: nn.Module) -> nn.Module:
    """The module inside torch.compile or DistributedDataParallel."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if isinstance(model, DistributedDataParallel):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


class _Holding:
    """A mask on a model's weights, on their current device."""

    def __init__(self, model: nn.Module, mask: GivenMask) -> None:
        self.model = model
        params, self.kept = fitted(model, mask)
        self.mask: Mask = {name: each.cpu() for name, each in self.kept.items()}
        self.seen: Params = params

    def within(self, optimizer: Optimizer) -> bool:
        """Whether an optimizer changes any of the masked weights."""
        changed = {id(p) for group in optimizer.param_groups for p in group["params"]}
        return any(id(weight) in changed for weight in self.seen.values())

    @torch.no_grad()
    def hold(self, optimizer: Optimizer, *_: Any) -> None:
        weights: Params = {name: self.model.get_parameter(name) for name in self.mask}
        if any(weights[name].device != kept.device for name, kept in self.kept.items()):
            self.kept = aligned(self.mask, weights)
        apply_(weights, self.kept)
        for name, weight in weights.items():
            for value in optimizer.state.get(weight, {}).values():
                if isinstance(value, Tensor) and value.shape == weight.shape:
                    apply_({name: value}, {name: self.kept[name]})
