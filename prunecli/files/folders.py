"""Whole folders or none: a sharded checkpoint is made beside its final name, then renamed."""

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
"""Suffixes of files of weights, which are not copied: they would be those of the checkpoint before
it was pruned."""

CONFIG = {"model_type", "architectures", "architecture", "_class_name"}
"""What a `config.json` of transformers, timm or diffusers has."""
MAX_CONFIG = 10_000_000


@contextmanager
def claimed_folder(
    output: Path, inputs: Iterable[Path] = (), *, wait: bool = False
) -> Iterator[Callable[[str], Path]]:
    """Hold the right to write a folder; yields what begins one to fill, which gets the name later.

    It is `claims.claimed` for folders. A text tells what is to be filled in: if that does not come
    about, the folder is left for the next process to go on from, of the same text. A folder that is
    there is never replaced, not with `force` either: nobody knows what else it holds.
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
    """The folder that becomes `target`, with nothing in it but files that it may have been left.

    Nobody calls a folder of their own by such a name. What others have put there, a link to another
    folder or one in it, is taken away and not followed.
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
    """Remove whatever lies there, and never what it leads to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def check_folder(output: Path, inputs: Iterable[Path] = (), *, force: bool = False) -> Path:
    """The real path of a folder that may be written; see `claims.check_output`."""
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
    """The folder that is somebody's model, of a file in it: loaders may take all that lies there.

    It has an index, or a `config.json` that says what model it is.
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
    """Copy the files of a folder that are no weights, also its index, to where the shards are.

    What is in the folder and comes neither from there nor from `made` is removed. Gives the names
    of the folders in it, which may hold anything and are not copied.
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
