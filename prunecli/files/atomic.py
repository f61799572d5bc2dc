"""Atomic writing: a file is written beside its final name, then renamed.

A reader never sees half a file. Whatever happens, the earlier file stays intact until the new one
is complete and on the disk. Temporary files are made anew, never through a link that lies there.
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
"""Outputs that are claimed and were not there then; see `claims`."""
FOLDERS: dict[Path, tuple[int, int]] = {}
"""Device and inode of the folders of claimed outputs, as they were then."""
WRITTEN: dict[Path, Identity] = {}
"""What this process has written, as it was when it got its name."""


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

    Tensors are laid out by falling item size, as the format's own writer does to keep them
    aligned, and in the given order within one size. They are read one at a time, or made while
    they are written. `metadata` keys are sorted.
    """
    head, order = laid_out(tensors, metadata)
    write_bytes(path, chain([head], *(bytes_of(tensors[name]) for name in order)), files)


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


def size_of(tensor: Tensor | Made) -> int:
    """The size of a tensor in a file, in bytes."""
    return _entry(tensor)[3]


def _entry(tensor: Tensor | Made) -> tuple[str, list[int], int, int]:
    """What the header says of a tensor: type, shape, bytes of one value and of all."""
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
    """Files written beside their names, to take them together once all of them are whole.

    Use it as a context: on any failure in it the earlier files stay, and no other is left behind.
    Files get the mode that the umask gives; they and their names are on the disk when it ends.
    Of several, a `journal` says which are to come, while they take their names one by one: should
    this process be killed just then, `settle` completes it. Raises BadOutput.
    """

    def __init__(self, journal: Path | None = None) -> None:
        self.drafts: dict[Path, tuple[Path, BinaryIO]] = {}
        """Where the draft of each path lies, and the open file."""
        self.outdated: list[Path] = []
        """What is removed once the others have their names."""
        self.journal = journal

    def __enter__(self) -> Files:
        return self

    def add(self, path: Path, content: Iterable[bytes | memoryview]) -> Path:
        """Write what will be `path`; gives where it lies until then. A link there is replaced."""
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
                with suppress(OSError):  # what could not be written stays in its buffer
                    file.close()
                draft.unlink(missing_ok=True)

    def _take_names(self) -> None:
        if self.journal:
            write_text(self.journal, json.dumps(self._to_come()))
        names = list(self.drafts)
        with ExitStack() as earlier:  # what is put back, if one of them does not get its name
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
    """Have `path` as it was, on a failure within, if the list says that it was taken."""
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
    """The path of the journal: which files take their names together with this one."""
    return path.with_name(f".{path.name}.commit")


def settle(path: Path) -> None:
    """Complete what a process was killed at while files took their names; whoever calls holds it.

    A file that the journal speaks of is believed only where it is the very one: no other has its
    times.
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
    """Write a file, whole or not at all; as one of several, if there are any. See `Files`."""
    with nullcontext(files) if files else Files() as together:
        together.add(path, content)


def _made_anew(path: Path) -> tuple[Path, BinaryIO]:
    """A new file beside `path`, and open: nobody else's, and no link."""
    _check_folder(path)
    while True:
        draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        with suppress(FileExistsError):
            return draft, os.fdopen(os.open(draft, MADE_ANEW, 0o666), "wb")


def _check_folder(path: Path) -> None:
    """Raise BadOutput where a link, or another folder, has come into the place of the output's."""
    status = path.parent.stat()
    own = status.st_dev, status.st_ino
    if FOLDERS.get(path.parent, own) != own:
        raise BadOutput(
            f"{printable(str(path))}: its folder was moved or replaced while it was written"
        )


def take_name(draft: Path, path: Path, file: BinaryIO) -> None:
    """Give a whole file its name.

    A file of that name that came meanwhile is replaced only where that was meant.

    Raises BadOutput, or OSError.
    """
    _check_folder(path)
    if path in FRESH:
        _link_anew(draft, path)
        FRESH.discard(path)  # from here on it is the claim's own
    else:
        draft.replace(path)
    WRITTEN[path] = Identity.of(os.fstat(file.fileno()))


def _link_anew(draft: Path, path: Path) -> None:
    came = f"{printable(str(path))}: another program has created it since; give another with -o"
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        raise BadOutput(came) from None
    except (OSError, NotImplementedError):  # a file system without links
        if os.path.lexists(path):
            raise BadOutput(came) from None
        draft.replace(path)
    else:
        draft.unlink()


def write_text(path: Path, text: str, files: Files | None = None) -> None:
    write_bytes(path, [text.encode()], files)


def sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut. Some file systems cannot; then it is best effort."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
