"""How fast prunecli is on a GPU: training, pruners, scores, masks, jobs at once, evaluation.

    python benchmarks/gpu.py -o gpu.json                        # 4 minutes at most
    python benchmarks/gpu.py --read gpu.json --into docs/speed.md
    python benchmarks/gpu.py --quick --device cpu               # whether it works, without a GPU

Without --into the tables go to stdout. What tells most comes first. A row that fails is recorded
with its reason, one for which the time is up as skipped, and the others go on. A row that hangs
ends the run; it says where. The results are written after every row, so a run that is stopped
leaves what it has.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import platform
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from _gpu_job import Job, LeftOut, Setup, freed
from _gpu_scores import masks, scores
from _gpu_several import several
from _gpu_table import has_figures, into, table
from _gpu_training import compiled, evaluation, pruners, training
from _machine import of_gpus, processor

from prunecli.errors import PruneError
from prunecli.files.atomic import write_text
from prunecli.runtime.device import pick_device
from prunecli.runtime.machine import cores
from prunecli.runtime.versions import versions

PARTS: dict[str, Callable[[Setup], Iterator[Job]]] = {
    "training": training,
    "evaluation": evaluation,
    "pruners": pruners,
    "scores": scores,
    "masks": masks,
    "several": several,
    "compile": compiled,
}
"""What is measured, in this order."""
BUDGET = 240.0
PATIENCE = 60.0
"""Seconds, besides twice those that it was to take, after which a row hangs."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Gives the exit code."""
    began = time.monotonic()
    given = _parser().parse_args(arguments)
    try:
        if given.read:
            results = joined([figures(path) for path in given.read])
        else:
            setup = Setup(pick_device(given.device), given.quick)
            results = {"about": about(setup, sys.argv[1:] if arguments is None else arguments)}
            measured(results, setup, given, began)
        if given.into:
            into(given.into, table(results))
        else:
            print(table(results), end="")
    except (PruneError, OSError, ValueError, RuntimeError) as error:
        print(f"gpu.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("gpu.py: interrupted", file=sys.stderr)
        return 130
    return 0


def figures(path: Path) -> dict[str, Any]:
    """Those of an earlier run. Raises ValueError for anything else."""
    found = json.loads(path.read_text())
    if not isinstance(found, dict) or not {"about", "rows"} <= found.keys():
        raise ValueError(f"{path}: it has no figures of a run")
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("gpu.json"), help="for the figures"
    )
    parser.add_argument("--into", type=Path, help="a document to put the tables into")
    parser.add_argument(
        "--read", type=Path, nargs="+", help="figures of earlier runs; nothing is measured"
    )
    parser.add_argument("--only", action="append", choices=PARTS, help="may be given several times")
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works")
    return parser


def measured(
    results: dict[str, Any], setup: Setup, given: argparse.Namespace, began: float
) -> None:
    """Do all jobs that there is time for, and write the results after each."""
    rows = results["rows"] = []
    for job in (job for part in given.only or PARTS for job in PARTS[part](setup)):
        now = time.monotonic() - began
        row = {"part": job.part, "label": job.label, **job.what}
        rows.append(row | {"failed": "it came to no end"})
        write_text(given.output, json.dumps(results, indent=1) + "\n")
        faulthandler.dump_traceback_later(
            PATIENCE + 2 * job.seconds, exit=True, file=sys.__stderr__
        )
        try:
            found = outcome(job, setup, given.budget - now)
        finally:
            faulthandler.cancel_dump_traceback_later()
        results["about"]["seconds"] = time.monotonic() - began
        rows[-1] = row | found | {"took": results["about"]["seconds"] - now}
        print(f"{now:6.1f} s  {job.label}: {_short(found)}", file=sys.stderr, flush=True)
        write_text(given.output, json.dumps(results, indent=1) + "\n")


def joined(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Runs in the same place as one. Of a row that several have, the last with figures counts.

    Raises ValueError for runs on other hardware or with other versions.
    """
    whole, *more = runs
    rows = {row["label"]: row for row in whole["rows"]}
    for run in more:
        for key in ("gpu", "driver", "processor", "cores", "versions"):
            if run["about"].get(key) != whole["about"].get(key):
                raise ValueError(f"these runs cannot be joined: they differ in {key}")
        whole["about"]["seconds"] += run["about"]["seconds"]
        whole["about"]["command"] += f"`, `{run['about']['command']}"
        rows |= {r["label"]: r for r in run["rows"] if r["label"] not in rows or has_figures(r)}
    return whole | {"rows": [*rows.values()]}


def outcome(job: Job, setup: Setup, left: float) -> dict[str, Any]:
    """Its figures, or why there are none."""
    if job.seconds > left:
        return {"skipped": "the time was up"}
    freed(setup.device)
    try:
        return job.measure()
    except LeftOut as reason:
        return {"skipped": str(reason)}
    except Exception as error:  # whatever it is, others can be measured
        told = str(error).strip().partition("\n")[0]
        return {"failed": f"{type(error).__name__}: {told}"}


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_short(each)}" for key, each in value.items())
    return f"{value:,.4g}" if isinstance(value, float) else str(value)


def about(setup: Setup, arguments: Sequence[str]) -> dict[str, Any]:
    """What it was measured with, and on; of files in the command, their names."""
    given = [Path(each).name if "/" in each else each for each in arguments]
    found: dict[str, Any] = {
        "date": f"{datetime.now(timezone.utc):%Y-%m-%d}",
        "command": shlex.join(["python", "benchmarks/gpu.py", *given]),
        "cores": cores(),
        "processor": processor(),
        "versions": {"Python": platform.python_version(), **versions()},
        "seconds": 0.0,
    }
    if setup.on_gpu:
        found["gpu"] = torch.cuda.get_device_name(setup.device)
        driver = next(iter(of_gpus("driver_version")), "unknown")
        found["driver"] = f"driver {driver}, CUDA {torch.version.cuda}"
        found["versions"]["cuDNN"] = str(torch.backends.cudnn.version())
    return found


if __name__ == "__main__":
    sys.exit(main())
