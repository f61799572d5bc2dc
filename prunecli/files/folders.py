"""Whole folders or none: a sharded checkpoint is made beside its final name, then renamed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from prunecli.errors import BadOutput, BadUsage, printable
from prunecli.files.atomic import check_output, locked, refusals, sync_folder

WEIGHTS = {
    ".bin", ".ckpt", ".gguf", ".h5", ".msgpack", ".onnx", ".pt", ".pth", ".safetensors", ".tflite",
}  # fmt: skip
"""What files of weights are called; they would be those of the checkpoint before it was pruned."""


@contextmanager
def claimed_folder(
    output: Path, inputs: Iterable[Path] = (), *, force: bool = False, wait: bool = False
) -> Iterator[Path]:
    """As `atomic.claimed`, for a folder: yields one to fill, which gets the name in the end.

    If that does not come about, it is left for the next process to go on from. A folder that is
    there is never replaced, not with `force` either: nobody knows what else it holds.
    """
    inputs, label = list(inputs), printable(str(output))
    target = check_folder(output, inputs, force=force)
    with locked(target, label, wait), refusals(label):
        check_folder(output, inputs, force=force)  # another process may just have written it
        part = target.with_name(f".{target.name}.part")
        part.mkdir(exist_ok=True)
        yield part
        part.rename(target)
        sync_folder(target.parent)


def check_folder(output: Path, inputs: Iterable[Path] = (), *, force: bool = False) -> Path:
    """As `atomic.check_output`, for a folder."""
    label = printable(str(output))
    if output.is_dir():
        raise BadOutput(f"{label}: the folder exists; remove it, or give another with -o")
    inputs = list(inputs)
    target = check_output(output, inputs, force=force)
    if target.exists():
        raise BadOutput(f"{label}: it is no folder; give another with -o")
    if any(target.is_relative_to(os.path.realpath(path)) for path in inputs):
        raise BadUsage(f"{label}: the output is inside an input; give another with -o")
    return target


def copy_others(index: Path, folder: Path, made: Iterable[str]) -> list[str]:
    """Copy the index, and files beside it that are no weights, to where the shards are.

    What is in the folder and comes neither from there nor from `made` is removed. Gives the names
    of the folders beside it, which may hold anything and are not copied.
    """
    others = {
        path.name: path
        for path in index.parent.iterdir()
        if path.is_file() and path.suffix not in WEIGHTS and not path.name.startswith(".")
    }
    for name, path in others.items():
        shutil.copyfile(path, folder / name)
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name not in {*made, *others}:
            path.unlink()
    sync_folder(folder)
    beside = (path for path in index.parent.iterdir() if path.is_dir())
    return sorted(path.name for path in beside if not path.name.startswith("."))
