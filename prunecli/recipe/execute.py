"""Do the jobs that are not done yet.

A job is done if its record, beside its output, holds the key it would have now and the hash of the
file that is there. The key is the hash of everything the output depends on: command, options, the
contents of its inputs, the data, and the versions of what computes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from prunecli.errors import BadOutput, JobsFailed, PruneError
from prunecli.files.digest import file_sha256
from prunecli.files.header import printable
from prunecli.recipe.plan import Job
from prunecli.types import Progress

RECORD = "job.json"
STATE = "*.state.safetensors"


@dataclass(frozen=True)
class Tools:
    """What it takes to do jobs, handed in by the command line."""

    run: Callable[[Job], None]
    inputs: Callable[[Job], Mapping[str, Any]]
    """Everything but the program that a job's output depends on, as JSON."""


def execute(jobs: list[Job], tools: Tools, progress: Progress, keep_going: bool = False) -> int:
    """Do what is not done, in order; gives how many jobs were run.

    Raises JobsFailed after the first failure, or with `keep_going` after all jobs that do not need
    a failed one.
    """
    failed: dict[str, str] = {}
    ran = done = 0
    for number, job in enumerate(jobs, 1):
        title = f"[{number}/{len(jobs)}] {job.name}"
        if any(need in failed for need in job.needs):
            failed[job.name] = "needs a failed job"
            continue
        try:
            key = _key(job, tools)
            if is_done(job, key):
                progress.detail(f"{title}: done already")
                done += 1
                continue
            progress.say(f"{title}: {job.command}")
            _start(job, key)
            tools.run(job)
            _record(job, {"key": key, "output": job.output.name, "sha256": file_sha256(job.output)})
            ran += 1
        except PruneError as error:
            failed[job.name] = str(error)
            progress.warn(f"{title}: {error}")
            if not keep_going:
                raise JobsFailed(f"job {job.name} failed: {error}") from None
    if failed:
        raise JobsFailed(f"{len(failed)} of {len(jobs)} jobs failed, first {next(iter(failed))}")
    progress.say(f"{ran} jobs done now, {done} were done before")
    return ran


def is_done(job: Job, key: str) -> bool:
    record = _read_record(job)
    return (
        record.get("key") == key
        and job.output.is_file()
        and record.get("sha256") == file_sha256(job.output)
    )


def _key(job: Job, tools: Tools) -> str:
    facts = {"command": job.command, "inputs": tools.inputs(job)}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _start(job: Job, key: str) -> None:
    """Note what is being done; a half-done training of something else is of no use any more."""
    if _read_record(job).get("key") != key:
        for state in job.output.parent.glob(STATE):
            state.unlink()
    _record(job, {"key": key})


def _read_record(job: Job) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        record = json.loads((job.output.parent / RECORD).read_bytes())
        if isinstance(record, dict):
            return record
    return {}


def _record(job: Job, record: dict[str, Any]) -> None:
    from prunecli.files.atomic import write_text

    try:
        job.output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        folder = printable(str(job.output.parent))
        raise BadOutput(f"{folder}: cannot be made: {error.strerror}") from None
    write_text(job.output.parent / RECORD, json.dumps(record, indent=1, sort_keys=True) + "\n")
