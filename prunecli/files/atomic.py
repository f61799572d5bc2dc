"""Atomic writing: a file is written under a temporary name, then renamed.

A reader never sees half a file. The earlier file stays intact until the new one is complete and on
the disk. Temporary files are newly created, never written through an existing link.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from prunecli.errors import BadInput, BadOutput, printable, reason
from prunecli.files.header import strict_json
from prunecli.files.reading import Identity, chunks, read_bytes
from prunecli.files.tensors import CODES
from prunecli.runtime.shortage import raise_shortage
from prunecli.tensors.parts import Made

MADE_ANEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
FRESH: set[Path] = set()
"""Claimed outputs that did not exist at the claim; see `claims`."""
FOLDERS: dict[Path, tuple[int, int]] = {}
"""Device and inode of the folders of claimed outputs, at the claim."""
WRITTEN: dict[Path, Identity] = {}
"""The identity of each file that this process wrote, at its rename."""


@contextmanager
def refusals(label: str) -> Iterator[None]:
    """Raise BadOutput if the operating system refuses to write."""
    try:
        yield
    except (OSError, NotImplementedError) as error:
        raise_shortage(error)
        raise BadOutput(f"{label}: cannot be written: {reason(error)}") from None


def write_tensors(
    path: Path,
    tensors: Mapping[str, Tensor | Made],
    metadata: Mapping[str, str],
    files: Files | None = None,
) -> None:
    """Write a safetensors file whose bytes depend on nothing but the arguments.

    Tensors are ordered by decreasing item size, as in the format's own writer, to keep them
    aligned, then as given. They are read or computed one at a time. `metadata` keys are sorted.
    Raises BadOutput.
    """
    head, order = laid_out(tensors, metadata)
    write_bytes(path, chain([head], *(bytes_of(tensors[name]) for name in order)), files)


def laid_out(
    tensors: Mapping[str, Tensor | Made], metadata: Mapping[str, str]
) -> tuple[bytes, list[str]]:
    """The bytes before the first tensor, and the order of the tensors."""
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


def size_of(tensor: Tensor | Made) -> int:
    """The size of a tensor in a file, in bytes."""
    return _entry(tensor)[3]


def _entry(tensor: Tensor | Made) -> tuple[str, list[int], int, int]:
    """The header entry of a tensor: type, shape, bytes per value, bytes in all."""
    if isinstance(tensor, Made) and tensor.packed:
        code, size = tensor.packed
        return code, list(tensor.shape), 0, size
    item = tensor.dtype.itemsize
    return CODES[tensor.dtype], list(tensor.shape), item, item * tensor.numel()


def bytes_of(tensor: Tensor | Made) -> Iterator[memoryview]:
    for part in tensor.parts() if isinstance(tensor, Made) else [tensor]:
        flat = part.detach().cpu().contiguous().reshape(-1)
        if flat.numel():
            yield flat.view(torch.uint8).numpy().data


class Files:
    """Files written under temporary names, and renamed together once all are complete.

    Use it as a context manager. On any failure in it, the earlier files stay and temporary ones are
    removed. At its end, the files are on the disk under their names, with the umask's mode.
    Renames happen one by one. A `journal` lists them, so that `settle` completes them if this
    process is killed in between. Raises BadOutput.
    """

    def __init__(self, journal: Path | None = None) -> None:
        self.drafts: dict[Path, tuple[Path, BinaryIO]] = {}
        """The temporary path of each path, and its open file."""
        self.outdated: list[Path] = []
        """Files to remove after the renames."""
        self.journal = journal

    def __enter__(self) -> Files:
        return self

    def add(self, path: Path, content: Iterable[bytes | memoryview]) -> Path:
        """Write the content of `path`; returns its temporary path. A link there is replaced."""
        with refusals(printable(str(path))):
            draft, file = self.drafts[path] = _made_anew(path)
            for chunk in content:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        return draft

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            if kind is None:
                self._take_names()
        except BaseException:
            if self.journal:
                self.journal.unlink(missing_ok=True)
            raise
        finally:
            for draft, file in self.drafts.values():
                with suppress(OSError):  # closing retries a failed write
                    file.close()
                draft.unlink(missing_ok=True)

    def _take_names(self) -> None:
        if self.journal:
            write_text(self.journal, json.dumps(self._to_come()))
        names = list(self.drafts)
        with ExitStack() as earlier:  # restored if a later rename fails
            for path in names[:-1]:
                self._take_name(path, earlier.enter_context(_put_back(path)))
            for path in names[-1:]:
                self._take_name(path, [])
        for path in self.outdated:
            with suppress(OSError):
                path.unlink()
        for folder in {path.parent for path in self.drafts}:
            sync_folder(folder)
        if self.journal:
            self.journal.unlink(missing_ok=True)

    def _take_name(self, path: Path, taken: list[Path]) -> None:
        draft, file = self.drafts[path]
        with refusals(printable(str(path))):
            take_name(draft, path, file)
        taken.append(path)

    def _to_come(self) -> dict[str, Any]:
        drafts = [
            [path.name, draft.name, Identity.of(draft.lstat())]
            for path, (draft, _) in self.drafts.items()
        ]
        outdated = [[p.name, Identity.of(p.lstat())] for p in self.outdated if p.exists()]
        return {"parts": drafts, "outdated": outdated}


@contextmanager
def _put_back(path: Path) -> Iterator[list[Path]]:
    """Restore `path` on a failure in the context, if the yielded list is not empty."""
    taken: list[Path] = []
    earlier = None
    if os.path.lexists(path):
        earlier, file = _made_anew(path)
        with file:
            file.writelines(chunks(path))
    try:
        yield taken
    except BaseException:
        if taken and earlier:
            earlier.replace(path)
        elif taken:
            path.unlink(missing_ok=True)
        raise
    finally:
        if earlier:
            earlier.unlink(missing_ok=True)


def journal_of(path: Path) -> Path:
    """The journal of the files that are renamed together with `path`."""
    return path.with_name(f".{path.name}.commit")


def settle(path: Path) -> None:
    """Complete the renames that a killed process left undone. The caller holds `path`.

    A file is touched only if its identity, times included, is the one in the journal.
    """
    journal, temporary = journal_of(path), re.compile(r"\.(.+)\.[0-9a-f]{8}\.part")
    try:
        said = strict_json(read_bytes(journal, 100_000).decode())
        for final, draft, identity in said["parts"]:
            match = temporary.fullmatch(draft)
            if match and match[1] == final and _is(path.with_name(draft), identity):
                path.with_name(draft).replace(path.with_name(final))
        for outdated, identity in said["outdated"]:
            if _is(path.with_name(outdated), identity):
                path.with_name(outdated).unlink()
    except FileNotFoundError:
        return
    except (OSError, ValueError, LookupError, TypeError, BadInput) as error:
        raise_shortage(error)
    with suppress(OSError):
        journal.unlink()


def _is(path: Path, identity: Any) -> bool:
    return os.path.lexists(path) and list(Identity.of(path.lstat())) == identity


def write_bytes(
    path: Path, content: Iterable[bytes | memoryview], files: Files | None = None
) -> None:
    """Write a file completely or not at all; with `files`, rename it together with them."""
    with nullcontext(files) if files else Files() as together:
        together.add(path, content)


def _made_anew(path: Path) -> tuple[Path, BinaryIO]:
    """Create a temporary file beside `path`; returns its path and the open file."""
    _check_folder(path)
    while True:
        draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        with suppress(FileExistsError):
            return draft, os.fdopen(os.open(draft, MADE_ANEW, 0o666), "wb")


def _check_folder(path: Path) -> None:
    """Raise BadOutput if the output's folder has been replaced since the claim."""
    status = path.parent.stat()
    own = status.st_dev, status.st_ino
    if FOLDERS.get(path.parent, own) != own:
        raise BadOutput(
            f"{printable(str(path))}: its folder was moved or replaced while it was written"
        )


def take_name(draft: Path, path: Path, file: BinaryIO) -> None:
    """Rename a complete draft to `path`.

    Raises BadOutput if another program has created `path` since it was claimed without `force`,
    or OSError.
    """
    _check_folder(path)
    if path in FRESH:
        _link_anew(draft, path)
        FRESH.discard(path)  # later writes may replace it
    else:
        draft.replace(path)
    WRITTEN[path] = Identity.of(os.fstat(file.fileno()))


def _link_anew(draft: Path, path: Path) -> None:
    came = f"{printable(str(path))}: another program has created it since; give another with -o"
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        raise BadOutput(came) from None
    except (OSError, NotImplementedError):  # a file system without hard links
        if os.path.lexists(path):
            raise BadOutput(came) from None
        draft.replace(path)
    else:
        draft.unlink()


def write_text(path: Path, text: str, files: Files | None = None) -> None:
    write_bytes(path, [text.encode()], files)


def sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut, on file systems that can sync a folder."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
