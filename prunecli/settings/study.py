"""The settings of a study, and what of its jobs' options their outputs depend on."""

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
"""The tables of what may be a recipe's step."""
_OPTIONS = [*(row for table in STEPS for row in options(table)), TRUST]
RESERVED = {row.flag.removeprefix("--") for row in _OPTIONS if row.reserved} | {"help"}
"""What 'prunecli run' says of every job, and no recipe does."""
NOT_CONTENT = {row.name for row in _OPTIONS if not row.decides}
"""What an output does not depend on."""

RUNS = Path("runs")
"""The folder that studies' folders are in."""
SET = Option("Set a variable or an axis of the recipe; repeatable.", Plain.PAIRS, flag="--set")
THREADS = Whole(1, 1000)
FOLDER = f"{RUNS}/NAME"


@dataclass(frozen=True)
class StudySettings:
    """What `run` may be told."""

    overrides: Mapping[str, str] = field_of(SET)
    only: str | None = option("Do this step and what it needs.", Plain.TEXT, metavar="STEP")
    jobs: int | None = option("Jobs side by side.", THREADS, short="-j", unset="1")
    threads: int | None = option(
        "CPU threads of a job.", THREADS, unset="the cores, divided among the jobs"
    )
    engine: str = option(
        "Where jobs run: on this machine, or as tasks of a Ray cluster.", OneOf(("local", "ray")),
        "local",
    )  # fmt: skip
    keep_going: bool = option("After a failure, do all that does not need it.", Switch())
    output: Path | None = option(
        "The study's folder.", File(written=True), short="-o", unset=FOLDER
    )
    wait: bool = option("Wait for another process that runs the study.", Switch())
    status: bool = option("Print what is done and what is not, do nothing.", Switch())
    dry_run: bool = option("Print every job's command, do nothing.", Switch())
    emit: str | None = option("Print it as a shell script instead.", OneOf(("sh",)))


@dataclass(frozen=True)
class CheckSettings:
    """What `recipe validate` may be told."""

    overrides: Mapping[str, str] = field_of(SET)


@dataclass(frozen=True)
class CopySettings:
    """What `recipe cp` may be told."""

    force: bool = option("Replace existing files.", Switch())


@dataclass(frozen=True)
class VerifySettings:
    """What a checkpoint is held against."""

    mask: Path | None = option("The mask that it should have been made with.", File())
    recipe: Path | None = option("The study that it should come from.", Plain.RECIPE)
    overrides: Mapping[str, str] = field_of(SET)
    study: Path | None = option("The study's folder.", File(), unset=FOLDER)
