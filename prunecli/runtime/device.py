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
"""Torch's warnings about operations that are deterministic on a CPU only."""
REGISTER = 16
"""Values in a CPU register."""


def pick_device(name: str, own: int | None = None) -> torch.device:
    """The device of that name: `auto` is the GPU if there is one; an explicit one never falls back.

    In distributed training, a process uses the GPU `own`. On a GPU, deterministic kernels are
    requested; a CPU's are deterministic anyway. Raises BadEnvironment for a missing GPU, and
    BadUsage for `cuda:N` in distributed training.
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
        # CUDA graphs, for example, are recorded on the current GPU. Setting it takes memory there,
        # which a process that only plans does not need.
        if torch.cuda.current_device() != (device.index or 0):
            torch.cuda.set_device(device.index or 0)
    return device


def _ask_for_repeatable_kernels() -> None:
    """Request deterministic kernels on all GPUs.

    `cudnn.benchmark` stays off: its timings may select other kernels in each run.
    """
    # cuBLAS is deterministic only with a fixed workspace, which it reads at its start.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    # So that fp32 means float32, as it does for matrix products by default. torch 2.9 and 2.10 warn
    # about this older setting. After the newer one, code that reads the older one fails, such as
    # torch.compile.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.backends.cudnn.allow_tf32 = False


@contextmanager
def unrepeatable(warn: Callable[[str], object]) -> Iterator[None]:
    """Call `warn`, once for each operation within that is not deterministic on a GPU.

    The text is ours: torch's warning names an unrelated line of code.
    """
    told = cache(warn)
    with warnings.catch_warnings():
        # By default, a warning is shown once per process, not once per job.
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
    """The warning for an operation such as 'upsample_bilinear2d_backward_out_cuda'."""
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
    """Move the model to the device, in channels-last format, the fastest for convolutions.

    On a CPU some convolutions stay contiguous: with several threads and an odd number of images,
    oneDNN in torch 2.11 to 2.14 would write their gradients out of bounds.
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
        if tensor.dim() == 4 and tensor not in spared:  # Conv1d and Conv3d have no such format
            tensor.data = tensor.data.to(memory_format=torch.channels_last)
    return model


def _is_unsafe(convolution: nn.Conv2d) -> bool:
    """Whether it is 1x1, strided, and has fewer input channels per group than `REGISTER`."""
    strided = set(convolution.kernel_size) == {1} and max(convolution.stride) > 1
    return strided and convolution.in_channels // convolution.groups < REGISTER


def _contiguous(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(each.contiguous() for each in inputs)


def has_room(device: torch.device, size: int) -> bool:
    """Whether `size` bytes take at most a quarter of a GPU's free memory.

    They are held twice while they are padded, and half must stay free. Memory that torch reserved
    in an earlier job counts as free. For a CPU it is always true: the data is there already.
    """
    if device.type != "cuda":
        return True
    held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return 4 * size <= torch.cuda.mem_get_info(device)[0] + held


def let_go() -> None:
    """Release unused GPU memory to other processes, such as after a failed job."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        gc.collect()  # reference cycles of an error's traceback and its frames
        torch.cuda.empty_cache()


@cache
def keep_freed_memory() -> None:
    """Let the C library keep up to 1 GiB of freed memory, if it supports that.

    Each training step frees megabytes and allocates them again. If the system gets them back, it
    zeroes each page anew, which takes a fifth of a small network's step.
    """
    trim_threshold, top_pad, mmap_threshold = -1, -2, -3  # from glibc's malloc.h
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
    """Linux's description of the processor; empty on other systems."""
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError as error:
        raise_shortage(error)  # or the precision would change
        return ""


def pick_precision(name: str, device: torch.device) -> str:
    """The precision, `bf16` or `fp32`; `auto` is bf16 if the hardware has it."""
    if name != "auto":
        return name
    return "bf16" if has_fast_bf16(device) else "fp32"


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
