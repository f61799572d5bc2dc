"""The settings of a study, and which options of its jobs change the outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from prunecli.settings.apply import ApplySettings
from prunecli.settings.eval import EvalSettings
from prunecli.settings.kinds import File, OneOf, Plain, Switch, Whole
from prunecli.settings.mask import MaskSettings
from prunecli.settings.report import ReportSettings
from prunecli.settings.run import TRUST, Seeded, Talk
from prunecli.settings.scoring import ScoreSettings
from prunecli.settings.table import Option, field_of, option, options
from prunecli.settings.train import FinetuneSettings, TrainSettings

STEPS = (
    *(TrainSettings, ScoreSettings, MaskSettings, ApplySettings, FinetuneSettings, EvalSettings),
    *(ReportSettings, Seeded, Talk),
)
"""The tables of the commands that can be steps of a recipe."""
_OPTIONS = [*(row for table in STEPS for row in options(table)), TRUST]
RESERVED = {row.flag.removeprefix("--") for row in _OPTIONS if row.reserved} | {"help"}
"""The options that 'prunecli run' sets for every job; a recipe cannot set them."""
NOT_CONTENT = {row.name for row in _OPTIONS if not row.decides}
"""The options that no output depends on."""

RUNS = Path("runs")
"""The parent folder of the studies' folders."""
SET = Option("Set a variable or an axis of the recipe; repeatable.", Plain.PAIRS, flag="--set")
THREADS = Whole(1, 1000)
FOLDER = f"{RUNS}/NAME"


@dataclass(frozen=True)
class StudySettings:
    """The settings of `run`."""

    overrides: Mapping[str, str] = field_of(SET)
    only: str | None = option(
        "Run only this step and the steps that it needs.", Plain.TEXT, metavar="STEP"
    )
    jobs: int | None = option("Jobs to run in parallel.", THREADS, short="-j", unset="1")
    threads: int | None = option(
        "CPU threads per job.", THREADS, unset="the cores, divided among the jobs"
    )
    engine: str = option(
        "Run jobs on this machine, or as tasks on a Ray cluster.", OneOf(("local", "ray")),
        "local",
    )  # fmt: skip
    keep_going: bool = option("After a job fails, run all jobs that do not need it.", Switch())
    output: Path | None = option(
        "Folder of the study.", File(written=True), short="-o", unset=FOLDER
    )
    wait: bool = option("Wait if another process is running the study.", Switch())
    status: bool = option("Print which jobs are done; run nothing.", Switch())
    dry_run: bool = option("Print the command of every job; run nothing.", Switch())
    emit: str | None = option("Print the study as a shell script; run nothing.", OneOf(("sh",)))


@dataclass(frozen=True)
class CheckSettings:
    """The settings of `recipe validate`."""

    overrides: Mapping[str, str] = field_of(SET)


@dataclass(frozen=True)
class CopySettings:
    """The settings of `recipe cp`."""

    force: bool = option("Overwrite existing files.", Switch())


@dataclass(frozen=True)
class VerifySettings:
    """The settings of `verify`: what to check a checkpoint against."""

    mask: Path | None = option("Mask that should have pruned the checkpoint.", File())
    recipe: Path | None = option("Recipe of the study that should have written it.", Plain.RECIPE)
    overrides: Mapping[str, str] = field_of(SET)
    study: Path | None = option("Folder of that study.", File(), unset=FOLDER)
