"""Floating-point operations of a forward pass, weight by weight."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from prunecli.network.layers import prunable


@torch.no_grad()
def count_flops(model: nn.Module, input_shape: tuple[int, int, int]) -> tuple[int, dict[str, int]]:
    """FLOPs of one image: in total, and per weight.

    A multiplication and an addition are two operations. Convolutions and matrix products count,
    biases and elementwise layers do not. An operation counts for the weight that is its factor, in
    any module. If the factor is computed from a weight, as in weight standardisation, it counts in
    the total only.
    """
    image = torch.zeros(1, *input_shape).to(next(iter(prunable(model).values())))
    training = model.training
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # fused attention is not counted
    try:
        with sdpa_kernel(SDPBackend.MATH), _Counting(model) as counting:
            model.eval()(image)
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        model.train(training)
    return counting.total, dict(counting.layers)


class _Counting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts like torch's FlopCounterMode, but per weight instead of per module."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # By memory address, since products use views of a weight.
        self.names = {
            weight.untyped_storage().data_ptr(): name
            for name, weight in model.named_parameters()
            if weight.dim() > 1
        }
        self.total = 0
        self.layers: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs, formula = kwargs or {}, flop_registry.get(func._overloadpacket)
        if formula is None:
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        if formula is not None:
            count = formula(*args, **kwargs, out_val=result)
            self.total += count
            factors = {self._name(arg) for arg in args if isinstance(arg, Tensor)}
            self.layers.update({name: count for name in factors if name})
        return result

    def _name(self, factor: Tensor) -> str | None:
        return self.names.get(factor.untyped_storage().data_ptr())


def sparse_flops(total: int, layers: Mapping[str, int], densities: Mapping[str, float]) -> int:
    """total - sum over layers of FLOPs * (1 - density), rounded."""
    saved = sum(layers.get(name, 0) * (1 - d) for name, d in densities.items())
    return round(total - saved)
