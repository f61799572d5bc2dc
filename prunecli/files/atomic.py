"""Whole files or none: claim an output, write it beside its final name, then rename.

A reader never sees half a file. Whatever happens, the earlier file stays intact until the new one
is complete and on the disk.
"""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from prunecli.errors import BadOutput, BadUsage, printable, reason
from prunecli.files.tensors import DTYPES
from prunecli.parts import Made

DTYPE_CODE = {dtype: code for code, dtype in DTYPES.items()}

GLANCE = 0.2
"""Seconds that a lock is waited for, since `is_locked` holds it for as long as it looks."""


@contextmanager
def claimed(
    output: Path,
    inputs: Iterable[Path] = (),
    *,
    force: bool = False,
    wait: bool = False,
    in_stages: bool = False,
) -> Iterator[Path]:
    """Hold the right to write `output`: checked and locked before any work starts.

    Yields the path to write to: the target, if `output` is a symlink. What a killed writer left is
    removed, or, `in_stages`, left for `stages.write_in_stages` to go on from. Raises BadUsage if it
    is one of the inputs, and BadOutput if it exists (without `force`), if its folder cannot be
    written, or if another process holds it (`wait` waits for that one instead).
    """
    inputs = list(inputs)
    target = check_output(output, inputs, force=force)
    with locked(target, printable(str(output)), wait):
        check_output(output, inputs, force=force)  # another process may just have written it
        sweep(target, in_stages)
        yield target


@contextmanager
def locked(target: Path, label: str, wait: bool = False) -> Iterator[None]:
    """Hold `target` against other processes. Raises BadOutput naming the one that holds it."""
    path = target.with_name(f".{target.name}.lock")
    made = [folder for folder in target.parents if not folder.exists()]
    lock = FileLock(path, timeout=-1 if wait else GLANCE)
    with refusals(label):
        while not lock.is_locked:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire()
            except Timeout:
                holder = _holder(path)
                raise BadOutput(
                    f"{label}: {holder} is writing it; wait for that, or use --wait"
                ) from None
            except FileNotFoundError:
                if path.parent.exists():
                    raise
                # The one that was waited for had made the folder, and left nothing in it.
    try:
        with refusals(label):
            path.write_text(f"process {os.getpid()} on {socket.gethostname()}\n")
        yield
    finally:
        with suppress(OSError):
            path.unlink()
        lock.release()
        with suppress(OSError):  # a folder made for an output that never came is left by none
            for folder in made:
                folder.rmdir()


def is_locked(target: Path) -> bool:
    """Whether a process holds `target` right now."""
    path = target.with_name(f".{target.name}.lock")
    if not path.exists():
        return False
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except (Timeout, OSError):
        return True
    lock.release()
    return False


def sweep(target: Path, in_stages: bool = False) -> None:
    """Remove what killed writers of `target`, and of no other file, left beside it."""
    kinds = r"\d+\.part" if in_stages else r"\d+\.part|begun|begun\.json"
    ours = re.compile(rf"\.{re.escape(target.name)}\.({kinds})")
    with suppress(OSError):
        for path in target.parent.iterdir():
            if ours.fullmatch(path.name):
                path.unlink()


@contextmanager
def refusals(label: str) -> Iterator[None]:
    """Raise BadOutput where the operating system refuses to write."""
    try:
        yield
    except (OSError, NotImplementedError) as error:
        raise BadOutput(f"{label}: cannot be written: {reason(error)}") from None


def check_output(output: Path, inputs: Iterable[Path] = (), *, force: bool = False) -> Path:
    """The real path that `output` stands for, if it may be written; see `claimed`."""
    label, target = printable(str(output)), Path(os.path.realpath(output))
    if any(target == Path(os.path.realpath(path)) for path in inputs):
        raise BadUsage(f"{label}: the output is one of the inputs; give another with -o")
    with refusals(label):
        exists = target.exists()
        folder = next(parent for parent in target.parents if parent.exists())
    if target.is_dir():
        raise BadOutput(f"{label}: it is a directory; name a file with -o")
    if exists and not target.is_file():
        raise BadOutput(f"{label}: it is not a regular file; give another with -o")
    if exists and not force:
        raise BadOutput(f"{label}: it exists; replace it with --force or give another with -o")
    if not folder.is_dir():
        raise BadOutput(f"{label}: cannot be written: {printable(str(folder))} is not a directory")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise BadOutput(f"{label}: cannot be written: no permission for {printable(str(folder))}")
    return target


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor | Made], metadata: Mapping[str, str]
) -> None:
    """Write a safetensors file whose bytes depend on nothing but the arguments.

    Tensors are laid out by falling item size, as the format's own writer does to keep them
    aligned, and in the given order within one size. They are read one at a time, or made while
    they are written. `metadata` keys are sorted.
    """
    head, order = laid_out(tensors, metadata)
    write_bytes(path, chain([head], *(bytes_of(tensors[name]) for name in order)))


def laid_out(
    tensors: Mapping[str, Tensor | Made], metadata: Mapping[str, str]
) -> tuple[bytes, list[str]]:
    """The bytes before the first tensor's, and the order in which tensors follow."""
    layout = {name: _entry(tensors[name]) for name in tensors}
    order = sorted(layout, key=lambda name: -layout[name][2])
    header: dict[str, object] = {"__metadata__": {"format": "pt"} | dict(sorted(metadata.items()))}
    position = 0
    for name in order:
        dtype, shape, _, size = layout[name]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [position, position + size]}
        position += size
    raw = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    raw += b" " * (-len(raw) % 8)
    return len(raw).to_bytes(8, "little") + raw, order


def _entry(tensor: Tensor | Made) -> tuple[str, list[int], int, int]:
    item = tensor.dtype.itemsize
    return DTYPE_CODE[tensor.dtype], list(tensor.shape), item, item * tensor.numel()


def bytes_of(tensor: Tensor | Made) -> Iterator[memoryview]:
    for part in tensor.parts() if isinstance(tensor, Made) else [tensor]:
        flat = part.detach().cpu().contiguous().reshape(-1)
        if flat.numel():
            yield flat.view(torch.uint8).numpy().data


def write_bytes(path: Path, chunks: Iterable[bytes | memoryview]) -> None:
    """Write `path` in one go: on any failure the earlier file stays and no other is left behind.

    The file gets the mode that the umask gives; the data and the rename are on the disk when this
    returns. A symlink stays one. Raises BadOutput.
    """
    target = Path(os.path.realpath(path))
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    with refusals(printable(str(path))):
        try:
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            with os.fdopen(descriptor, "wb") as file:
                for chunk in chunks:
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            part.replace(target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        sync_folder(target.parent)


def write_text(path: Path, text: str) -> None:
    write_bytes(path, [text.encode()])


def sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut. Some file systems cannot; then it is best effort."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _holder(lock_path: Path) -> str:
    with suppress(OSError):
        return printable(lock_path.read_text(errors="replace").strip()) or "another process"
    return "another process"
