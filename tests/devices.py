"""What a GPU would refuse, or wait for, found without one.

On torch's device `meta` tensors have shapes and no values. So nothing can be computed from a value
that the host would have to wait for, and a tensor that was left on the CPU stands out.
"""

import sys
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import prunecli

META, CPU = torch.device("meta"), torch.device("cpu")
PACKAGE = Path(prunecli.__file__).parent
MOVES = {"_to_copy", "copy_"}
LOOKS = {"_local_scalar_dense": 0, "is_nonzero": False, "allclose": True, "equal": True}
"""Operations that give the host a value, and what that is where everything is zero."""
IN_PLACE = {"_fused_sgd_"}
"""They change what they are given, and torch has none for `meta`."""


class OneDevice(TorchDispatchMode):
    """Raises AssertionError where an operation takes a tensor of the CPU beside one of `meta`.

    Only moves may, for a GPU too. So that nobody else catches it unseen, the first is raised again
    at the end. Whoever looks at a value has the same fate: with `item`, in an `if`, by `nonzero`,
    or on its way to the CPU. With `may_look` they see zeros, and `looks` says where they looked;
    `moves` says what went the other way, for a GPU is waited for then as well.
    """

    def __init__(self, *, may_look=False):
        super().__init__()
        self.may_look, self.looks, self.moves, self.refused = may_look, [], [], []

    @classmethod
    def _should_skip_dynamo(cls):
        return False  # to be skipped, torch's compiler would be loaded

    def __exit__(self, kind, error, trace):
        super().__exit__(kind, error, trace)
        if kind is None and self.refused:
            raise AssertionError(self.refused[0])

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs, name = kwargs or {}, func._schema.name.removeprefix("aten::")
        given = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        on = {each.device.type for each in given}
        if len(on) > 1 and name not in MOVES:
            self._refuse(name, f"takes tensors of {' and '.join(sorted(on))}")
        if _lands(META, name, args, kwargs) and "cpu" in on and not _hurries(name, args, kwargs):
            self.moves.append(place())
        if "meta" not in on:
            return func(*args, **kwargs)
        if name in IN_PLACE:
            return None
        if name in LOOKS or _lands(CPU, name, args, kwargs):
            self.looks.append(place())
            if not self.may_look:
                self._refuse(name, "looks at a value")
            return self._zeros(name, args, kwargs)
        try:
            return func(*args, **kwargs)
        except (RuntimeError, NotImplementedError) as error:  # by its shape it needs values
            self._refuse(name, str(error).partition("\n")[0])

    def _refuse(self, name, why):
        self.refused.append(f"{place()}: {name} {why}")
        raise AssertionError(self.refused[-1])

    def _zeros(self, name, args, kwargs):
        if name == "copy_":
            return args[0].zero_()
        if name == "_to_copy":
            return torch.zeros(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
        return bool(LOOKS[name]) if args[0].dtype == torch.bool else LOOKS[name]


def _lands(target, name, args, kwargs):
    device = args[0].device if name == "copy_" else kwargs.get("device")
    return name in MOVES and device is not None and device.type == target.type


def _hurries(name, args, kwargs):
    """Whether a copy goes on by itself, as `non_blocking` says."""
    return kwargs.get("non_blocking") or (name == "copy_" and args[2:] == (True,))


def place():
    """The innermost line of the package that is at work: 'training/loop.py:120 in _step'."""
    frame = sys._getframe(1)
    while frame:
        file = Path(frame.f_code.co_filename)
        if PACKAGE in file.parents:
            return f"{file.relative_to(PACKAGE)}:{frame.f_lineno} in {frame.f_code.co_name}"
        frame = frame.f_back
    return "the test"


def let_train_on_meta(patch):
    """Have optimizers, and `autocast` for fp32, take `meta`, which they do not know."""
    patch.setattr(
        import_module("torch.optim.optimizer"),
        "_get_fused_kernels_supported_devices",
        lambda: ["cpu", "cuda", "meta"],
    )
    patch.setattr(torch, "autocast", lambda *arguments, **options: nullcontext())
