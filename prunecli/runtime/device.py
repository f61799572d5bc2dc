"""The device and the precision to compute in."""

from __future__ import annotations

import ctypes
import gc
import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from prunecli.errors import BadEnvironment, BadUsage
from prunecli.runtime.shortage import raise_shortage

UNREPEATABLE = re.compile(
    r"(.+?) does not have a deterministic implementation"
    r"|(.+?) defaults to a non-deterministic algorithm"
    r"|.*not deterministic because it uses (CuBLAS)"
)
"""What torch says of an operation that repeats its bits on a CPU only."""
REGISTER = 16
"""Values that a register of a CPU holds."""


def pick_device(name: str, own: int | None = None) -> torch.device:
    """The device of that name: `auto` is the GPU if there is one; an explicit one never falls back.

    A process that shares its work with others uses the GPU `own`. On a GPU, kernels that repeat
    their results are asked for; those of a CPU do anyway. Raises BadEnvironment for a GPU that is
    not there, and BadUsage for one that all processes are to use.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if own is not None and name.startswith("cuda:"):
        raise BadUsage(f"--device {name}: each process takes a GPU of its own; use --device cuda")
    if own is not None and name == "cuda":
        name = f"cuda:{own}"
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise BadEnvironment(
                f"--device {name}: this machine has {count} usable GPUs; use --device cpu or auto"
            )
        _ask_for_repeatable_kernels()
        # CUDA graphs, for one, are recorded on the current one. To set it takes memory there, which
        # a process that only plans needs not.
        if torch.cuda.current_device() != (device.index or 0):
            torch.cuda.set_device(device.index or 0)
    return device


def _ask_for_repeatable_kernels() -> None:
    """Ask all GPUs for kernels that repeat their results.

    `cudnn.benchmark` stays off: by its timings, it may choose others each run.
    """
    # cuBLAS repeats its results only with a fixed work space, which it reads when it starts.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    # So that fp32 means float32; for products of matrices it does by default. By the older of
    # torch's two ways, which 2.9 and 2.10 complain of: after the newer one, what asks by the older
    # one, as torch.compile does, fails.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.backends.cudnn.allow_tf32 = False


@contextmanager
def unrepeatable(warn: Callable[[str], object]) -> Iterator[None]:
    """Tell `warn`, once each, of operations within that may not repeat their bits on a GPU.

    It is told in words of ours: torch's own name a line of the code that happened to be running.
    """
    told = cache(warn)
    with warnings.catch_warnings():
        # By default, a warning is shown once in a process, not once in every job that it does.
        warnings.filterwarnings("always", message=".*deterministic")
        otherwise = warnings.showwarning

        def show(message: Warning | str, *rest: Any, **named: Any) -> None:
            if found := UNREPEATABLE.match(str(message)):
                told(_differing(next(filter(None, found.groups()))))
            else:
                otherwise(message, *rest, **named)

        warnings.showwarning = show
        yield


def _differing(operation: str) -> str:
    """What 'upsample_bilinear2d_backward_out_cuda' means for the user, in words."""
    name = re.sub(r"_(out|cuda|kernel|template)(?=_|\b)", "", operation)
    return (
        f"{name}: this operation is not deterministic on a GPU, so --resume, or the same "
        "command again, can give other bytes; --device cpu gives the same"
    )


def set_threads(count: int) -> int:
    """Set the number of CPU threads; returns the previous number."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    return before


def gpus() -> list[str]:
    """The GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    numbers = [str(number) for number in range(torch.cuda.device_count())]
    return [name.strip() for name in named.split(",")][: len(numbers)] if named else numbers


def put_on(model: nn.Module, device: torch.device) -> nn.Module:
    """The model on the device, in the memory format that convolutions are fastest in.

    Some convolutions stay out of it on a CPU: in oneDNN, as torch 2.11 to 2.14 have it, several
    threads' gradients of an odd number of images are then written beyond their memory.
    """
    spared = set()
    if device.type == "cpu":
        keep_freed_memory()
        for module in model.modules():
            if isinstance(module, nn.Conv2d) and _is_unsafe(module):
                if _contiguous not in module._forward_pre_hooks.values():
                    module.register_forward_pre_hook(_contiguous)
                spared.add(module.weight)
    model.to(device)
    for tensor in [*model.parameters(), *model.buffers()]:
        if tensor.dim() == 4 and tensor not in spared:  # of Conv1d and Conv3d there is no such one
            tensor.data = tensor.data.to(memory_format=torch.channels_last)
    return model


def _is_unsafe(convolution: nn.Conv2d) -> bool:
    """Whether it skips pixels, has no window, and takes fewer channels than a register holds."""
    strided = set(convolution.kernel_size) == {1} and max(convolution.stride) > 1
    return strided and convolution.in_channels // convolution.groups < REGISTER


def _contiguous(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(each.contiguous() for each in inputs)


def has_room(device: torch.device, size: int) -> bool:
    """Whether a GPU holds so many bytes twice, as it does while they are padded, and half is left.

    What is to go to a CPU is in its memory already. What torch holds on to after an earlier job
    counts as free.
    """
    if device.type != "cuda":
        return True
    held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return 4 * size <= torch.cuda.mem_get_info(device)[0] + held


def let_go() -> None:
    """Leave GPU memory that is not in use to other processes, as after a job that failed."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        gc.collect()  # what an error's traceback and its frames hold in a circle
        torch.cuda.empty_cache()


@cache
def keep_freed_memory() -> None:
    """Let the C library hold on to up to 1 GiB that was freed, where it can be told to.

    Every step of training frees megabytes and asks for them again. Handed back to the system in
    between, they come page by page, zeroed anew: a fifth of a small network's step.
    """
    trim_threshold, top_pad, mmap_threshold = -1, -2, -3  # of glibc's malloc.h
    with suppress(OSError, AttributeError, TypeError):
        library = ctypes.CDLL(None)
        library.mallopt(trim_threshold, 1 << 30)
        library.mallopt(top_pad, 1 << 26)
        library.mallopt(mmap_threshold, 1 << 25)


def has_fast_bf16(device: torch.device) -> bool:
    """Whether the hardware multiplies bfloat16: CUDA from Ampere on, CPUs with AMX or AVX512-BF16.

    Others emulate it, slower than float32.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    flags = processor()
    return "avx512_bf16" in flags or "amx_bf16" in flags


@cache
def processor() -> str:
    """The processor as Linux describes it; empty elsewhere."""
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError as error:
        raise_shortage(error)  # or it would compute in another precision
        return ""


def pick_precision(name: str, device: torch.device) -> str:
    """The precision, `bf16` or `fp32`; `auto` is bf16 where the hardware has it."""
    if name != "auto":
        return name
    return "bf16" if has_fast_bf16(device) else "fp32"


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
