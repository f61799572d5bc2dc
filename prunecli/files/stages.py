"""Large files that take long to make: a writer that was stopped is gone on from.

Beside the output lies `.NAME.begun`, which becomes it, and `.NAME.begun.json`, which says how much
of that is on the disk for sure.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from torch import Tensor

from prunecli.errors import printable
from prunecli.files.atomic import bytes_of, laid_out, refusals, sync_folder
from prunecli.parts import Made

STAGE = 1 << 30
"""Bytes, at least, from one stage to the next."""


def write_in_stages(
    path: Path, tensors: Mapping[str, Tensor | Made], metadata: Mapping[str, str]
) -> None:
    """As `atomic.write_tensors`, but what an earlier call wrote before it was stopped is kept.

    That call must have had tensors of the same names and shapes and the same metadata, which must
    say all that the values depend on. What is less than a stage is not kept, nor is anything where
    the writing failed. Raises BadOutput.
    """
    target = Path(os.path.realpath(path))
    begun, note = (target.with_name(f".{target.name}.{end}") for end in ("begun", "begun.json"))
    head, order = laid_out(tensors, metadata)
    key = hashlib.sha256(head).hexdigest()
    with refusals(printable(str(path))), _left_if_stopped(begun, note):
        done, size = _noted(begun, note, key)
        with begun.open("r+b" if done else "wb") as file:
            file.truncate(size)
            file.seek(size)
            if not done:
                file.write(head)
            for number, name in enumerate(order[done:], done + 1):
                file.writelines(bytes_of(tensors[name]))
                if file.tell() - size >= STAGE:
                    _sync(file)
                    size = file.tell()
                    note.write_text(json.dumps({"key": key, "tensors": number, "bytes": size}))
            _sync(file)
        begun.replace(target)
        note.unlink(missing_ok=True)
        sync_folder(target.parent)


def _noted(begun: Path, note: Path, key: str) -> tuple[int, int]:
    """How many tensors, and bytes, are there to go on from. A note of something else is removed."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        said = json.loads(note.read_text())
        if said["key"] == key and begun.stat().st_size >= said["bytes"]:
            return int(said["tensors"]), int(said["bytes"])
    note.unlink(missing_ok=True)
    return 0, 0


@contextmanager
def _left_if_stopped(begun: Path, note: Path) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        if not (isinstance(error, KeyboardInterrupt | SystemExit) and note.exists()):
            note.unlink(missing_ok=True)
            begun.unlink(missing_ok=True)
        raise


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
