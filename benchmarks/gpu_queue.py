"""Do the studies that wait for a GPU, for as long as there is one; gpu_queue.md says how."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

from _queue_results import collect, gather, unpack
from _queue_table import MINUTES, Entry, cost, page, read_queue, status

from prunecli.cli.commands.run import do
from prunecli.errors import PruneError
from prunecli.files.atomic import write_text
from prunecli.images.source import Source
from prunecli.settings.data import DataSettings
from prunecli.settings.run import Talk
from prunecli.settings.study import StudySettings

HERE = Path(__file__).parent
EVERY = 20
"""Seconds between looks at what is done."""
ASKED, KILLED = 0.95, 1.0
"""The parts of its time after which a run is asked to stop, and made to."""


def work(entries: Sequence[Entry], given: argparse.Namespace) -> bool:
    """Do what is missing of the studies, in this process; whether nothing failed."""
    sound = True
    for entry in entries:
        jobs = entry.in_turn(entry.missing(given.results))
        if not jobs:
            continue
        for part in unpack(given.data, given.data_dir, entry.data) if given.data else []:
            print(f"unpacked {part}", file=sys.stderr)
        if lack := lacking(entry, given.data_dir):
            sound = False
            print(f"{entry.name}: left out: {lack}", file=sys.stderr)
            continue
        print(f"{entry.name}: {len(jobs)} jobs", file=sys.stderr)
        folder = given.runs / entry.folder
        settings = StudySettings(jobs=given.jobs, keep_going=True, output=folder)
        try:
            do(jobs, folder, settings, Talk(json=True))
        except PruneError as error:
            sound = False
            print(f"{entry.name}: {error}", file=sys.stderr)
    return sound


def lacking(entry: Entry, data_dir: Path) -> str:
    """What of its data is not there, in words; empty if all is."""
    data = DataSettings(entry.data, {}, data_dir)
    for split in ("train", "test"):
        try:
            found = len(Source.of(data, None).load(split).labels)
        except PruneError as error:
            return str(error)
        if found != entry.images[split]:
            whole = f"{entry.images[split]:,} {split} images of {entry.data}"
            return f"{found:,} of the {whole} are there; put the other archives into --data"
    return ""


def timed(command: Sequence[str], seconds: float, meanwhile: Callable[[], object]) -> int:
    """Run a command for so long at most; gives its exit code, or minus the signal that ended it.

    After Ctrl-C the command has a while to end as well, and that gives 130.
    """
    child = subprocess.Popen(command)
    began = time.monotonic()
    try:
        for part, number in ((ASKED, signal.SIGINT), (KILLED, signal.SIGKILL)):
            while (left := began + part * seconds - time.monotonic()) > 0:
                with suppress(subprocess.TimeoutExpired):
                    return child.wait(min(left, EVERY))
                meanwhile()
            child.send_signal(number)
        return child.wait()
    except KeyboardInterrupt:  # a terminal asks the child too, which saves what it is at
        with suppress(subprocess.TimeoutExpired):
            child.wait(EVERY)
        return 128 + signal.SIGINT
    finally:
        child.kill()  # where anything else went wrong here: nobody would look at its time


def run(entries: Sequence[Entry], given: argparse.Namespace, argv: Sequence[str]) -> int:
    """Do what is missing, in a process that can be ended when the time is over, and gather it.

    Gives its exit code: 0, 1 if anything failed, 130 if the time was over before all was done.
    """
    began = datetime.now(timezone.utc)

    def look() -> dict[str, float]:
        found = gather(entries, given.runs, given.results, given.output, began)
        return {str(place): result.top1 for place, result in found.items()}

    command = [sys.executable, __file__, "work", *argv[1:]]
    code = timed(command, 60 * given.minutes, look)
    for name, top1 in look().items():
        print(f"{top1:6.2f}%  {name.removesuffix('.json')}")
    if code == -signal.SIGKILL:  # at the end of its time
        return 130
    return code if code in (0, 130) else 1


def parser() -> argparse.ArgumentParser:
    told = argparse.ArgumentParser(description=(__doc__ or "").strip())
    shared = argparse.ArgumentParser(add_help=False)
    results = HERE.parent / "docs" / "results"
    shared.add_argument("--queue", type=Path, default=HERE / "gpu_queue.yaml", help="the table")
    shared.add_argument("--results", type=Path, default=results, help="what is known already")
    shared.add_argument("--runs", type=Path, default=Path("runs/queue"), help="where studies run")
    does = told.add_subparsers(dest="do", required=True, metavar="list|run|collect")
    does.add_parser("list", parents=[shared], help="say how far every study is")
    run_ = does.add_parser("run", parents=[shared], help="do what is missing")
    for own in (run_, does.add_parser("work", parents=[shared])):  # which is what `run` starts
        own.add_argument("studies", nargs="*", help="their names; else all, from the top")
        own.add_argument("--data", type=Path, help="folder of the data sets' archives")
        own.add_argument("--data-dir", type=Path, default=Path("data"), help="where they go")
        own.add_argument("--minutes", type=float, default=MINUTES, help="at most")
        own.add_argument("--jobs", type=int, default=1, help="side by side")
        own.add_argument("-o", "--output", type=Path, default=Path("came.tar.gz"), help="results")
    own = does.add_parser("collect", parents=[shared], help="add up what runs gave")
    own.add_argument("archives", type=Path, nargs="*", help="none: make tables and pages anew")
    return told


def main(argv: Sequence[str]) -> int:
    given = parser().parse_args(argv)
    if "data_dir" in given:
        os.environ["PRUNECLI_DATA_DIR"] = str(given.data_dir)
    entries = read_queue(given.queue, given.runs, vars(given).get("studies", ()))
    if given.do == "run":
        if given.data and not given.data.is_dir():
            raise SystemExit(f"{given.data}: there is no such folder")
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # or its child would go on alone
        return run(entries, given, argv)
    if given.do == "work":
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
        try:
            return int(not work(entries, given))
        except KeyboardInterrupt:
            return 130
    if given.do == "collect":
        collect(given.archives, entries, given.results)
        document = given.queue.with_suffix(".md")
        before = document.read_text() if document.exists() else ""
        write_text(document, page(before, entries, given.results))
    for entry in entries:
        more = f"; {cost(entry)}; {entry.data}" if entry.jobs else ""
        print(f"{entry.name}: {status(entry, given.results)}{more}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
