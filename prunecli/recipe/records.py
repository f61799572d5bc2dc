"""What a job's folder says of it: the record beside its output.

A record holds the key that the job was started with. It is the hash of everything that the output
depends on: command, options, the contents of its inputs, the data, and the versions of what
computes. Once the job is done the record holds the hash of its output too, and of masks that were
written beside it, and after a failure the reason. A record with neither is of a job that is being
done, or that was killed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from prunecli.errors import BadOutput, PruneError, printable, reason
from prunecli.files.atomic import write_bytes, write_text
from prunecli.files.claims import is_locked, locked, sweep
from prunecli.files.digest import file_sha256
from prunecli.files.reading import chunks
from prunecli.recipe.plan import Job

RECORD = "job.json"
STATE = "*.state.safetensors"
PARTS = ".*.*.part"
"""Of the files that `Shelf.take` copies, and of the record: nobody else sweeps those."""
MASKS = "*.mask.safetensors"
"""What is written beside an output and is a result as well; a log is none."""


def job_key(command: str, inputs: Mapping[str, Any]) -> str:
    """The hash of all that a job's output depends on."""
    facts = {"command": command, "inputs": inputs}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def is_done(job: Job, key: str) -> bool:
    """Whether the output is there, as this key's job left it."""
    record = read_record(job.folder)
    return record.get("key") == key and _is_intact(job.output, record)


def _is_intact(output: Path, record: Mapping[str, Any]) -> bool:
    """An older record says nothing of what lies beside the output."""
    beside = record.get("beside", {})
    if not isinstance(beside, dict):
        return False
    hashes = {output.parent / name: sha256 for name, sha256 in beside.items()}
    hashes[output] = record.get("sha256")
    return all(file.is_file() and file_sha256(file) == sha256 for file, sha256 in hashes.items())


def state(job: Job, key: str) -> str:
    """What became of the job: 'done', 'failed: REASON', 'running', 'stopped' or 'waiting'."""
    record = read_record(job.folder)
    if record.get("key") != key:
        return "waiting"
    if "error" in record:
        return f"failed: {record['error']}"
    if is_locked(job.folder / RECORD):
        return "running"
    if "sha256" not in record:
        return "stopped"
    return "done" if _is_intact(job.output, record) else "waiting"


@contextmanager
def held(job: Job) -> Iterator[None]:
    """Within, others see that the job is running. What killed ones were writing is removed."""
    make_folder(job.folder)
    with locked(job.folder / RECORD, printable(str(job.folder))):
        if not is_locked(job.output):  # somebody may be doing the job's command by hand
            for part in job.folder.glob(PARTS):
                name = part.name.removeprefix(".").rsplit(".", 2)[0]
                sweep(job.folder / name, in_stages=True)
        yield


def start(job: Job, key: str) -> None:
    """Note what is being done; a half-done training of something else is of no use any more."""
    if read_record(job.folder).get("key") != key:
        for half_done in job.folder.glob(STATE):
            half_done.unlink()
    _write(job, {"key": key})


def finish(job: Job, key: str) -> None:
    record = {"key": key, "output": job.output.name, "sha256": file_sha256(job.output)}
    beside = {mask.name: file_sha256(mask) for mask in job.folder.glob(MASKS)}
    _write(job, record | ({"beside": beside} if beside else {}))


def fail(job: Job, key: str, error: str) -> None:
    """Note why the job failed; the next run tries it again."""
    with suppress(PruneError):  # the disk may be what failed
        _write(job, {"key": key, "error": error})


def read_record(folder: Path) -> dict[str, Any]:
    """The record in a job's folder; empty if there is none, or none that can be read."""
    with suppress(OSError, ValueError):
        record = json.loads((folder / RECORD).read_bytes())
        if isinstance(record, dict):
            return record
    return {}


def _write(job: Job, record: dict[str, Any]) -> None:
    make_folder(job.folder)
    write_text(job.folder / RECORD, json.dumps(record, indent=1, sort_keys=True) + "\n")


def make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadOutput(f"{printable(str(folder))}: cannot be made: {reason(error)}") from None


class Shelf:
    """What is done in a study, and in those beside it if it shares, so that it is done once."""

    def __init__(self, study: Path, shared: bool) -> None:
        self.study, self.shared = study, shared
        self._places: dict[str, Path] | None = None

    def put(self, job: Job, key: str) -> None:
        if self._places is not None:
            self._places[key] = job.folder

    def take(self, job: Job, key: str) -> Path | None:
        """Copy what a job of this key has left elsewhere, if one has; gives where that was."""
        if self._places is None:  # not needed, and not read, by a run that finds all done
            self._places = dict(self._records())
        place = self._places.get(key)
        if place is None or place == job.folder:
            return None
        record = read_record(place)
        if record.get("key") != key:  # another job is being done there by now
            return None
        with suppress(OSError):
            for file in sorted(place.iterdir()):
                if file.is_file() and file.name != RECORD and not file.name.startswith("."):
                    write_bytes(job.folder / file.name, chunks(file))
        return place if _is_intact(job.output, record) else None

    def _records(self) -> Iterator[tuple[str, Path]]:
        root, study = (self.study.parent, "*") if self.shared else (self.study, "")
        for depth in ("*", "*/*"):
            for path in sorted(root.glob("/".join(filter(None, (study, depth, RECORD))))):
                record = read_record(path.parent)
                if "sha256" in record:
                    yield str(record.get("key")), path.parent
