"""The settings of a run: where to write, where to compute, and what to say meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from prunecli.runtime.progress import Progress
from prunecli.settings.kinds import Plain, Switch, Whole
from prunecli.settings.table import Option, field_of, option

OUTPUT = Option(
    "Where to write.", Plain.OUTPUT, short="-o", decides=False, reserved=True,
    unset="made of the inputs' names",
)  # fmt: skip
DEVICE = Option(
    "Where to compute; an explicit cuda never falls back.", Plain.DEVICE,
    metavar="auto|cpu|cuda[:N]", envvar="PRUNECLI_DEVICE",
)  # fmt: skip
SEED = Option("Of all randomness.", Whole(0, 2**31 - 1), unset="the checkpoint's, else 0")
TRUST = Option(
    "Let files name models and data of this package or import path: it is imported, which runs its "
    "code; repeatable.",
    Plain.TEXTS, flag="--trust", metavar="PACKAGE", envvar="PRUNECLI_TRUST", decides=False,
    reserved=True,
)  # fmt: skip


@dataclass(frozen=True)
class RunOptions:
    """What a step may be told of its run."""

    output: Path | None = field_of(OUTPUT)
    force: bool = option("Replace an existing output.", Switch(), decides=False, reserved=True)
    wait: bool = option(
        "Wait for another process that writes the output.", Switch(), decides=False, reserved=True
    )
    dry_run: bool = option(
        "Check options and input files, though not the data set; write nothing.", Switch(),
        decides=False, reserved=True,
    )  # fmt: skip
    device: str = "auto"
    seed: int | None = None
    progress: Progress = field(default_factory=Progress)


@dataclass(frozen=True)
class OnDevice(RunOptions):
    """What a step may be told that computes."""

    device: str = field_of(DEVICE, "auto")


@dataclass(frozen=True)
class Seeded(OnDevice):
    """What a step may be told that draws lots."""

    seed: int | None = field_of(SEED)


@dataclass(frozen=True)
class Form:
    """What says how the result is printed."""

    json: bool = option("Print one JSON object to stdout.", Switch(), decides=False, reserved=True)


@dataclass(frozen=True)
class Talk(Form):
    """What says how much to say, and how."""

    quiet: bool = option(
        "Say nothing but errors.", Switch(), short="-q", envvar="PRUNECLI_QUIET", decides=False,
        reserved=True,
    )  # fmt: skip
    verbose: bool = option(
        "Say more.", Switch(), short="-v", envvar="PRUNECLI_VERBOSE", decides=False, reserved=True
    )
