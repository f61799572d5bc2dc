"""Batch normalisation over the batch of all processes, so their number does not matter."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, distributed
from torch.autograd import Function
from torch.nn import functional as F
from torch.nn.modules import _functions
from torch.overrides import TorchFunctionMode

from prunecli.runtime.world import World


def shared_statistics(world: World, count: int = 0) -> AbstractContextManager[object]:
    """A context in which batch normalisation uses the statistics of all processes' batches.

    `count` is the number of images in the batch of all processes.
    """
    return nullcontext() if world.size == 1 else _SharedStatistics(world, count)


class _SharedStatistics(TorchFunctionMode):
    """Stands in for `F.batch_norm`, which every module of batch normalisation ends in.

    So the network keeps its modules, whatever they are derived from, and all else that is done
    with it, scoring by a pruner for one, is done as in a single process.
    """

    def __init__(self, world: World, count: int = 0) -> None:
        super().__init__()
        self.world, self.count = world, count

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is F.batch_norm:
            return self._batch_norm(*args, **kwargs or {})
        return func(*args, **kwargs or {})

    def _batch_norm(
        self,
        x: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        if not training:
            return F.batch_norm(x, running_mean, running_var, weight, bias, eps=eps)
        # The kernels of nn.SyncBatchNorm, which has no others, and cannot do without an image.
        if x.device.type == "cuda" and self.count >= self.world.size:
            group, size = distributed.group.WORLD, self.world.size
            normalised: Tensor = _functions.SyncBatchNorm.apply(
                x, weight, bias, running_mean, running_var, eps, momentum, group, size
            )
            return normalised
        return _batch_norm(self.world, x, running_mean, running_var, weight, bias, momentum, eps)


def _batch_norm(
    world: World,
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    momentum: float,
    eps: float,
) -> Tensor:
    """y = (x - m) / sqrt(v + eps) * weight + bias, with x of [N, C, ...], N being all processes'.

        m = sum x / n,   v = sum (x - m)^2 / n,   n = N times the places of a channel

    The mean goes first: E[x^2] - m^2 would lose the digits that they have in common. `running_var`
    takes n / (n - 1) v, as that of `nn.BatchNorm2d` does.
    """
    channel = (1, -1, *[1] * (x.ndim - 2))
    others = [axis for axis in range(x.ndim) if axis != 1]
    wide = x if x.dtype == torch.float64 else x.float()
    own = wide.new_full((1,), x.numel() // x.shape[1])
    *_, n = sums = _Sum.apply(torch.cat([wide.sum(others), own]), world)
    mean = sums[:-1] / n
    centred = wide - mean.view(channel)
    var = _Sum.apply(centred.square().sum(others), world) / n
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.lerp_(mean.to(running_mean), momentum)
            running_var.lerp_((var * n / (n - 1)).to(running_var), momentum)
    y: Tensor = centred * (var + eps).rsqrt().view(channel)
    if weight is not None:
        y = y * weight.view(channel)
    if bias is not None:
        y = y + bias.view(channel)
    return y.to(x.dtype)


class _Sum(Function):
    """The sum over all processes. Its gradient is summed over all processes too."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, world: World) -> Tensor:
        ctx.world = world
        total = own.clone()
        world.add_up([total])
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].clone()
        ctx.world.add_up([total])
        return total, None
