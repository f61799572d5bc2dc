"""Archives: what goes to a run of the queue, and what it gives, which adds up in docs/results."""

from __future__ import annotations

import io
import json
import platform
import tarfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from _machine import of_gpus
from _queue_table import Entry

from prunecli.cli.study.steps import invoke
from prunecli.files.atomic import write_bytes, write_text
from prunecli.files.results import Result, read_result
from prunecli.recipe.records import is_intact
from prunecli.runtime.progress import Progress


def unpack(parts: Path, data_dir: Path, name: str) -> list[str]:
    """Unpack those archives of a data set that were not unpacked before; gives their names.

    Raises tarfile.FilterError for an archive that would write anywhere else.
    """
    marks = data_dir / ".unpacked"
    there = sorted(parts.glob(f"{name}-*.tar.gz"))
    new = [path for path in there if not (marks / path.name).exists()]
    for path in new:
        with tarfile.open(path) as tar:
            tar.extractall(data_dir, filter="data")
        marks.mkdir(exist_ok=True)
        (marks / path.name).touch()
    return [path.name for path in new]


def gather(
    entries: Sequence[Entry], runs: Path, results: Path, output: Path, began: datetime
) -> dict[Path, Result]:
    """Write what is done below `runs` and not known below `results` as one archive, if anything is.

    It is laid out as `results` is, with a note for each folder of when, where and by what that was
    done. Gives the results by their places.
    """
    files = {
        entry.place(job.name): job.output
        for entry in entries
        for job in entry.in_turn(entry.missing(results))
        if job.name in entry.wanted and is_intact(job)
    }
    found = {place: read_result(path) for place, path in files.items()}
    for folder in {place.parts[0] for place in files}:
        own = [place for place in found if place.parts[0] == folder]
        note = {
            "date": began.isoformat(timespec="seconds"),
            "machine": ", ".join(of_gpus("name")) or f"no GPU, {platform.machine()}",
            "versions": found[own[0]].versions,
            "results": [str(place) for place in own],
        }
        path = runs / f"{folder}.run.json"
        write_text(path, json.dumps(note, indent=1) + "\n")
        files[Path(folder, "runs", f"{began:%Y-%m-%d-%H%M%S}.json")] = path
    if files:
        archive(output, {str(place): path for place, path in files.items()})
    return found


def archive(target: Path, members: Mapping[str, Path]) -> None:
    """Write files under the names given as a .tar.gz, all of it or nothing."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, path in members.items():
            tar.add(path, name)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(target, [buffer.getvalue()])


def collect(archives: Sequence[Path], entries: Sequence[Entry], results: Path) -> None:
    """Put what runs gave below `results`, and make a table and a page of all that a folder has.

    Raises SystemExit for an archive that holds anything else, or cannot be read.
    """
    folders = {entry.folder: entry for entry in entries if entry.jobs}
    for path in archives:
        try:
            _take(path, set(folders), results)
        except (OSError, EOFError, tarfile.TarError) as error:
            raise SystemExit(f"{path}: it cannot be read ({error})") from None
    for folder, entry in folders.items():
        gathered = sorted(map(str, (results / folder / "results").glob("**/*.json")))
        if not gathered:
            continue
        options = entry.jobs[-1].arguments  # --output PATH OPTIONS... -- RESULTS...
        as_page = options[2 : options.index("--")]
        for name, form in (("results.csv", ["--format", "csv"]), ("report.html", as_page)):
            output = ["--output", str(results / folder / name)]
            invoke("report", [*output, *form, "--", *gathered], Progress())


def _take(path: Path, folders: set[str], results: Path) -> None:
    with tarfile.open(path) as tar:
        for name in tar.getnames():
            if name.split("/")[0] not in folders or not name.endswith(".json"):
                raise SystemExit(f"{path}: {name} is not of a study of the queue")
        tar.extractall(results, filter="data")
