"""Atomic folders: a sharded checkpoint is written under a temporary name, then renamed."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from prunecli.errors import BadInput, BadOutput, BadUsage, printable
from prunecli.files.atomic import refusals, sync_folder, write_bytes
from prunecli.files.claims import check_output, is_plain, locked
from prunecli.files.header import strict_json
from prunecli.files.reading import chunks, read_bytes
from prunecli.files.tensors import INDEX_END
from prunecli.runtime.shortage import raise_shortage

WEIGHTS = {
    ".bin", ".ckpt", ".gguf", ".h5", ".msgpack", ".onnx", ".pt", ".pth", ".safetensors", ".tflite",
}  # fmt: skip
"""Suffixes of weight files. They are not copied: they hold the weights from before pruning."""

CONFIG = {"model_type", "architectures", "architecture", "_class_name"}
"""Keys that mark a `config.json` of transformers, timm or diffusers."""
MAX_CONFIG = 10_000_000


@contextmanager
def claimed_folder(
    output: Path, inputs: Iterable[Path] = (), *, wait: bool = False
) -> Iterator[Callable[[str], Path]]:
    """Check and lock a folder, as `claims.claimed` does for files.

    Yields a function from a text that identifies the content to a temporary folder, which is
    renamed at the end. On a failure the temporary folder stays, and the next process with the same
    text continues from it. An existing folder is never replaced, not even with `force`: it may hold
    other files.
    """
    inputs, label = list(inputs), printable(str(output))
    target = check_folder(output, inputs)
    with locked(target, label, wait), refusals(label):
        check_folder(output, inputs)  # another process may just have written it
        begun: list[Path] = []

        def begin(text: str) -> Path:
            begun.append(_begun(target, text))
            return begun[0]

        yield begin
        begun[0].rename(target)
        sync_folder(target.parent)


def _begun(target: Path, text: str) -> Path:
    """The temporary folder of `target`, with at most the plain files of an earlier try.

    Its name is prunecli's own. Anything else there, such as links, is removed and not followed.
    """
    mark = hashlib.sha256(text.encode()).hexdigest()[:16]
    own = target.with_name(f".{target.name}.{mark}.part")
    ours = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{16}}\.part")
    for path in target.parent.iterdir():
        if ours.fullmatch(path.name) and (path != own or path.is_symlink() or not path.is_dir()):
            _remove(path)
    own.mkdir(exist_ok=True)
    for path in own.iterdir():
        if not is_plain(path):
            _remove(path)
    return own


def _remove(path: Path) -> None:
    """Remove a file, a folder or a link itself."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def check_folder(output: Path, inputs: Iterable[Path] = (), *, force: bool = False) -> Path:
    """As `claims.check_output`, for a folder: it must not exist or lie in an input."""
    label = printable(str(output))
    if output.is_dir():
        raise BadOutput(f"{label}: the folder exists; remove it, or give another with -o")
    inputs = list(inputs)
    target = check_output(output, inputs, force=force)
    if target.exists():
        raise BadOutput(f"{label}: it is not a folder; give another with -o")
    if any(target.is_relative_to(os.path.realpath(path)) for path in inputs):
        raise BadUsage(f"{label}: the output is inside an input; give another with -o")
    return target


def model_folder(path: Path) -> Path | None:
    """The folder of a file, if it is a model's: loaders may read any file in it. Else None.

    A model's folder has an index, or a `config.json` that names the model.
    """
    folder = path.parent if path.parent.name not in ("", "..") else path.parent.resolve()
    try:
        if path.is_dir() or not folder.name:
            return None
        if any(folder.glob(f"*{INDEX_END}")):
            return folder
        config = strict_json(read_bytes(folder / "config.json", MAX_CONFIG).decode())
    except (OSError, ValueError, BadInput) as error:
        raise_shortage(error)
        return None
    return folder if isinstance(config, dict) and CONFIG & config.keys() else None


def copy_others(source: Path, folder: Path, made: Iterable[str]) -> list[str]:
    """Copy the files of `source` other than weights, its index included, to the shards' folder.

    Removes from that folder what is neither copied nor in `made`. Hidden files and folders are not
    copied. Returns the names of the folders in `source`, except hidden ones.
    """
    others = {
        path.name: path
        for path in source.iterdir()
        if path.is_file() and path.suffix not in WEIGHTS and not path.name.startswith(".")
    }
    for name, path in others.items():
        write_bytes(folder / name, chunks(path))
    for path in folder.iterdir():
        if path.name not in {*made, *others}:
            _remove(path)
    sync_folder(folder)
    beside = (path for path in source.iterdir() if path.is_dir())
    return sorted(path.name for path in beside if not path.name.startswith("."))
