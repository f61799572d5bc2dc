"""The settings of a run: the output, the device, the seed and the messages."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from prunecli.runtime.progress import Progress
from prunecli.settings.kinds import Plain, Switch, Whole
from prunecli.settings.table import Option, field_of, option

OUTPUT = Option(
    "Output path.", Plain.OUTPUT, short="-o", decides=False, reserved=True,
    unset="derived from the inputs' names",
)  # fmt: skip
DEVICE = Option(
    "Device to compute on; cuda never falls back to the CPU.", Plain.DEVICE,
    metavar="auto|cpu|cuda[:N]", envvar="PRUNECLI_DEVICE",
)  # fmt: skip
SEED = Option("Random seed.", Whole(0, 2**31 - 1), unset="the checkpoint's, else 0")
TRUST = Option(
    "Allow files to name models and data sets from this package or import path, which imports it "
    "and so runs its code; repeatable.",
    Plain.TEXTS, flag="--trust", metavar="PACKAGE", envvar="PRUNECLI_TRUST", decides=False,
    reserved=True,
)  # fmt: skip


@dataclass(frozen=True)
class RunOptions:
    """The settings of every step's run."""

    output: Path | None = field_of(OUTPUT)
    force: bool = option("Overwrite an existing output.", Switch(), decides=False, reserved=True)
    wait: bool = option(
        "Wait if another process is writing the output.", Switch(), decides=False, reserved=True
    )
    dry_run: bool = option(
        "Check the options and input files, but not the data set; write nothing.", Switch(),
        decides=False, reserved=True,
    )  # fmt: skip
    device: str = "auto"
    seed: int | None = None
    progress: Progress = field(default_factory=Progress)


@dataclass(frozen=True)
class OnDevice(RunOptions):
    """The run of a step that computes on a device."""

    device: str = field_of(DEVICE, "auto")


@dataclass(frozen=True)
class Seeded(OnDevice):
    """The run of a step that draws random numbers."""

    seed: int | None = field_of(SEED)


@dataclass(frozen=True)
class Form:
    """How the result is printed."""

    json: bool = option("Print one JSON object to stdout.", Switch(), decides=False, reserved=True)


@dataclass(frozen=True)
class Talk(Form):
    """How much is printed, and in which form."""

    quiet: bool = option(
        "Print no messages except errors.", Switch(), short="-q", envvar="PRUNECLI_QUIET",
        decides=False, reserved=True,
    )  # fmt: skip
    verbose: bool = option(
        "Print more messages.", Switch(), short="-v", envvar="PRUNECLI_VERBOSE",
        decides=False, reserved=True,
    )  # fmt: skip
