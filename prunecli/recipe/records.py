"""The record of a job, beside its output.

A record holds the key that the job was started with. It is the hash of everything that the output
depends on: command, options, the contents of its inputs, the data, and the versions of what
computes. Once the job is done the record holds the hash of its output too, and of the mask and the
log that came with it, and after a failure the reason. A record with neither is of a job that is
being done, or that was killed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prunecli.errors import BadInput, BadOutput, PruneError, printable
from prunecli.files.atomic import refusals, write_bytes, write_text
from prunecli.files.claims import is_locked, locked, sweep
from prunecli.files.digest import file_sha256
from prunecli.files.header import strict_json
from prunecli.files.parsing import Record, parsed, table
from prunecli.files.reading import Identity, chunks, read_bytes
from prunecli.recipe.plan import Job
from prunecli.runtime.shortage import raise_shortage

RECORD = "job.json"
STATE = "*.state.safetensors"
BESIDE = ("mask.safetensors", "log.jsonl", "state.safetensors")
"""Ends of what may come with an output."""
Wrote = Mapping[str, Identity | None]
"""The files that a job left in its folder, as they were when they got their names, if known."""
MAX_RECORD = 1_000_000


@dataclass(frozen=True, kw_only=True)
class JobRecord(Record):
    """The record of a job; older ones do not list the files beside the output."""

    key: str | None = None
    output: str | None = None
    sha256: str | None = None
    beside: Mapping[str, str] | None = None
    """The hash of each file, by its name."""
    error: str | None = None


def job_key(command: str, inputs: Mapping[str, Any] | None) -> str:
    """The hash of all that a job's output depends on."""
    facts = {"command": command, "inputs": inputs}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def is_done(job: Job, key: str) -> bool:
    """Whether the output exists, unchanged since the job of this key wrote it."""
    record = read_record(job.folder)
    return record.key == key and _is_intact(job.output, record)


def is_intact(job: Job) -> bool:
    """Whether the output, and the files written with it, match the job's record."""
    return _is_intact(job.output, read_record(job.folder))


def _is_intact(output: Path, record: JobRecord) -> bool:
    beside = {output.parent / name: sha256 for name, sha256 in (record.beside or {}).items()}
    hashes = {**beside, output: record.sha256}
    with suppress(BadInput):
        return all(file_sha256(file) == sha256 for file, sha256 in hashes.items())
    return False


def state(job: Job, key: str) -> str:
    """The state of the job: 'done', 'failed: REASON', 'running', 'stopped' or 'waiting'."""
    record = read_record(job.folder)
    if record.key != key:
        return "waiting"
    if record.error is not None:
        return f"failed: {record.error}"
    if is_locked(job.folder / RECORD):
        return "running"
    if record.sha256 is None:
        return "stopped"
    return "done" if _is_intact(job.output, record) else "waiting"


@contextmanager
def occupied(job: Job) -> Iterator[None]:
    """A context in which other processes see that the job is running.

    Partial files of killed processes are removed.
    """
    make_folder(job)
    with locked(job.folder / RECORD, printable(str(job.folder))):
        if not is_locked(job.output):  # somebody may be doing the job's command by hand
            stem = job.output.name.removesuffix(".safetensors")
            for name in (RECORD, job.output.name, *(f"{stem}.{end}" for end in BESIDE)):
                sweep(job.folder / name, in_stages=True)
        yield


def start(job: Job, key: str) -> None:
    """Note what is being done; a half-done training of something else is of no use any more.

    A link in the folder is taken away, for a job that writes through it would write elsewhere, and
    so is a pipe. Raises BadOutput for one in the folder's own place, and for a folder in a file's.
    """
    make_folder(job)
    for entry in job.folder.iterdir():
        if entry.name in (RECORD, job.output.name) and entry.is_dir() and not entry.is_symlink():
            label = printable(str(entry))
            raise BadOutput(f"{label}: a folder has the name of the study's file; remove it")
        if entry.is_symlink() or not (entry.is_file() or entry.is_dir()):
            entry.unlink()
    if read_record(job.folder).key != key:
        for half_done in job.folder.glob(STATE):
            half_done.unlink()
    _write(job, JobRecord(key=key))


def finish(job: Job, key: str, wrote: Wrote) -> None:
    """Note what the job wrote: its output, and what came with that.

    Raises BadInput where that has changed since, or is not there.
    """
    hashes = {name: file_sha256(job.folder / name, identity) for name, identity in wrote.items()}
    own = hashes.pop(job.output.name, None) or file_sha256(job.output)
    name, beside = job.output.name, hashes or None
    _write(job, JobRecord(key=key, output=name, sha256=own, beside=beside))


def fail(job: Job, key: str, error: str) -> None:
    """Record why the job failed; the next run tries it again."""
    with suppress(PruneError):  # the disk may be what failed
        _write(job, JobRecord(key=key, error=error))


def read_record(folder: Path) -> JobRecord:
    """The record in a job's folder; empty if there is none, or none that can be one."""
    try:
        text = read_bytes(folder / RECORD, MAX_RECORD).decode("utf-8")
        record = parsed(JobRecord, strict_json(text))
        if not record.nulls and all(map(_is_name, record.beside or ())):
            return record
    except (OSError, ValueError, BadInput) as error:
        raise_shortage(error)
    return JobRecord()


def _is_name(text: str) -> bool:
    """Whether it may be that of a file in the folder."""
    return Path(text).name == text and "\0" not in text and len(os.fsencode(text)) <= 255


def _write(job: Job, record: JobRecord) -> None:
    make_folder(job)
    write_text(job.folder / RECORD, json.dumps(table(record), indent=1, sort_keys=True) + "\n")


def check_folders(job: Job) -> None:
    """Raise BadOutput where a link would lead the job out of its study."""
    for folder in job.folders:
        if folder.is_symlink():
            label = printable(str(folder))
            raise BadOutput(f"{label}: a link has the name of a job's folder; remove it")


def make_folder(job: Job) -> None:
    """Make the folder of a job. Raises BadOutput where that cannot be."""
    check_folders(job)
    with refusals(printable(str(job.folder))):
        job.folder.mkdir(parents=True, exist_ok=True)


class Shelf:
    """What is done in a study, and in those beside it if it shares, so that it is done once."""

    def __init__(self, study: Path, shared: bool) -> None:
        self.study, self.shared = study, shared
        self._folders: dict[str, Path] | None = None

    def put(self, job: Job, key: str) -> None:
        if self._folders is not None:
            self._folders[key] = job.folder

    def take(self, job: Job, key: str) -> Path | None:
        """Copy what a job of this key has left elsewhere, if any, and note it; gives from where."""
        if self._folders is None:  # not needed, and not read, by a run that finds all done
            self._folders = dict(self._records())
        folder = self._folders.get(key)
        if folder is None or folder == job.folder:
            return None
        record = read_record(folder)
        if record.key != key:  # another job is being done there by now
            return None
        names = [job.output.name, *(record.beside or ())]
        with suppress(BadInput):
            for name in names:
                write_bytes(job.folder / name, chunks(folder / name))
            if _is_intact(job.output, record):
                finish(job, key, dict.fromkeys(names))
                return folder
        return None

    def _records(self) -> Iterator[tuple[str, Path]]:
        root, study = (self.study.parent, "*") if self.shared else (self.study, "")
        for depth in ("*", "*/*"):
            for path in sorted(root.glob("/".join(filter(None, (study, depth, RECORD))))):
                record = read_record(path.parent)
                if record.sha256 is not None:
                    yield str(record.key), path.parent
