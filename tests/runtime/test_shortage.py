"""What is short is told apart from all else that goes wrong."""

import errno
import mmap
import os
import resource
import threading
from contextlib import suppress

import numpy as np
import pytest
import torch

from prunecli.errors import BadEnvironment, BadInput
from prunecli.runtime import shortage
from prunecli.runtime.shortage import raise_shortage


def open_files_without_end():
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    few, opened = len(os.listdir("/proc/self/fd")) + 8, []  # noqa: PTH208
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, limit[1]))
    try:
        for _ in range(100):
            opened.append(os.open(os.devnull, os.O_RDONLY))
    finally:
        for file in opened:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)


def start_a_thread_larger_than_memory():
    before = threading.stack_size(1 << 46)
    try:
        threading.Thread(target=print).start()
    finally:
        threading.stack_size(before)


REAL = {
    "python": (lambda: bytearray(1 << 60), "out of memory; lower --batch-size"),
    "torch": (lambda: torch.empty(1 << 45), "out of memory: 128.0 TiB more were needed; lower"),
    "numpy": (lambda: np.empty(1 << 45), "out of memory: 256 TiB more were needed; lower"),
    "mapped": (lambda: mmap.mmap(-1, 1 << 60), "out of memory; lower"),
    "files": (open_files_without_end, "too many files are open; raise the limit, as in 'ulimit"),
    "threads": (start_a_thread_larger_than_memory, "no more threads or processes can be started"),
}


@pytest.mark.fault(36)
@pytest.mark.parametrize(("act", "said"), REAL.values(), ids=REAL)
def test_real_shortages_are_told(act, said):
    with pytest.raises(Exception) as found:
        act()
    with pytest.raises(BadEnvironment, match=said) as told:
        raise_shortage(found.value)
    assert told.value.exit_code == 6
    assert "\n" not in str(told.value)


# As libraries were seen to say it: where they did, nothing was left for a small thing.
WORDS = {
    "libtorch_cpu.so: failed to map segment from shared object": (ImportError, "out of memory;"),
    "could not create a primitive": (RuntimeError, "out of memory;"),
    "unable to mmap 1423408 bytes from file <a>: Cannot allocate memory (12)": (
        RuntimeError, "out of memory: 1.4 MiB more were needed;",
    ),
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you "
    "tried to allocate 8179200 bytes. Error code 12 (Cannot allocate memory)": (
        RuntimeError, "out of memory: 7.8 MiB more were needed;",
    ),
    "std::bad_alloc": (MemoryError, "out of memory;"),
    "CUDA error: out of memory": (RuntimeError, "the GPU is out of memory;"),
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED": (RuntimeError, "the GPU is out of memory;"),
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED": (
        RuntimeError, "the GPU is out of memory;",
    ),
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasSgemm`": (
        RuntimeError, "the GPU is out of memory;",
    ),
    "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`": (
        RuntimeError, "the GPU is out of memory;",
    ),
    "NCCL error: unhandled cuda error\nLast error:\nCuda failure 2 'out of memory'": (
        RuntimeError, "the GPU is out of memory;",
    ),
    "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's "
    "workers are out of shared memory.": (RuntimeError, "out of memory;"),
    "can't start new thread": (RuntimeError, "no more threads"),
    "Too many open files. Communication with the workers is no longer possible.": (
        RuntimeError, "too many files are open;",
    ),
}  # fmt: skip


@pytest.mark.fault(36)
@pytest.mark.parametrize("words", WORDS)
def test_what_libraries_say_is_understood(words):
    kind, said = WORDS[words]
    with pytest.raises(BadEnvironment, match=said):
        raise_shortage(kind(words))


def test_what_torch_says_of_a_full_gpu_is_understood():
    words = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 1 GiB"
    with pytest.raises(BadEnvironment, match="the GPU is out of memory: 2.00 GiB more were needed"):
        raise_shortage(torch.OutOfMemoryError(words))


@pytest.mark.parametrize("text", ["shape '[2]' is invalid", "size mismatch for fc.weight", ""])
@pytest.mark.parametrize("kind", [RuntimeError, ValueError, OSError, ImportError, SystemError])
def test_other_errors_pass(kind, text):
    raise_shortage(kind(text))
    raise_shortage(FileNotFoundError(errno.ENOENT, "Cannot allocate"))
    raise_shortage(BadInput("a file called 'out of memory.safetensors'"))


@pytest.mark.fault(36)
def test_what_was_made_of_a_shortage_is_still_told():
    try:
        try:
            raise MemoryError
        except MemoryError:
            raise BadInput("it is damaged") from None
    except BadInput as error:
        with pytest.raises(BadEnvironment, match="out of memory"):
            raise_shortage(error)


@pytest.mark.fault(36)
def test_any_words_of_a_library_are_a_shortage_where_nothing_is_left(monkeypatch):
    odd = SystemError("error return without exception set")
    raise_shortage(odd)
    monkeypatch.setattr(shortage, "ROOM", 1 << 60)
    with suppress(OSError):
        raise_shortage(ValueError("a bad value"))
        raise_shortage(FileNotFoundError(errno.ENOENT, "gone"))
    with pytest.raises(BadEnvironment, match="out of memory; lower"):
        raise_shortage(odd)
