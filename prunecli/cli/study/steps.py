"""The commands as steps of a recipe: options from YAML, checked by click."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from prunecli.cli.base import Command
from prunecli.cli.commands.apply import apply
from prunecli.cli.commands.eval import evaluate
from prunecli.cli.commands.finetune import finetune
from prunecli.cli.commands.mask import mask
from prunecli.cli.commands.report import report
from prunecli.cli.commands.score import score
from prunecli.cli.commands.train import train
from prunecli.cli.debug import trace_if_wanted, unforeseen
from prunecli.errors import BadUsage, PruneError, some, suggest
from prunecli.plugins.trust import check_may_follow, trust
from prunecli.runtime.interrupts import Terminated
from prunecli.runtime.shortage import raise_shortage
from prunecli.settings.study import RESERVED, RUNS
from prunecli.settings.training import Carried

if TYPE_CHECKING:
    from prunecli.recipe.plan import Checked, Job
    from prunecli.recipe.read import Recipe
    from prunecli.recipe.records import Wrote
    from prunecli.runtime.progress import Progress

STEPS: dict[str, Command] = {
    str(command.name): command
    for command in (train, score, mask, apply, finetune, evaluate, report)
    if isinstance(command, Command)
}


def context(command: str, argv: list[str]) -> click.Context:
    """The parsed command line of a step. Raises BadUsage where click would complain."""
    try:
        return STEPS[command].make_context(command, list(argv))
    except click.UsageError as error:
        raise BadUsage(error.format_message()) from None


@lru_cache(maxsize=10_000)
def _params(command: str, argv: tuple[str, ...]) -> Mapping[str, Any]:
    """The parameters of a job, asked for when it is planned and again when it is due."""
    return context(command, list(argv)).params


def check(
    command: str,
    options: Mapping[str, Any],
    carried: Mapping[Path, Carried],
    may_name: Callable[[str], bool] = lambda name: True,
) -> Checked:
    """A recipe step's options as arguments, and the file that the step will write.

    `carried` says what the outputs of other steps will say of their training. `may_name` says which
    import paths the user wrote, and another's recipe did not.
    """
    from prunecli.recipe.plan import Checked

    argv = arguments(STEPS[command], options)
    params = _params(command, tuple(argv))
    named = sorted((kind, name) for kind, name in STEPS[command].named(params) if ":" in name)
    trust(name for _, name in named if may_name(name))
    for kind, name in named:
        check_may_follow(kind, name, by_file=not may_name(name))
    try:
        with _own_fault():  # a pruner's check may be other people's code
            carries = STEPS[command].carried(params, _inherited(params, carried))
            STEPS[command].verify(params, (carries or {}).get("epochs"))
    except PruneError as error:
        raise_shortage(error)
        raise BadUsage(str(error)) from None
    return Checked(argv, STEPS[command].product(params), carries)


def _inherited(params: Mapping[str, Any], carried: Mapping[Path, Carried]) -> Carried:
    """What the checkpoint that a step takes says of its training: another step's, or a file."""
    from prunecli.files.artifacts import open_artifact
    from prunecli.files.records import CheckpointRecord

    checkpoint = params.get("checkpoint")
    if checkpoint is None:
        return {}
    if checkpoint in carried:
        return carried[checkpoint]
    try:
        return open_artifact(checkpoint, "checkpoint").says(CheckpointRecord).settings or {}
    except PruneError as error:  # the job itself will say so, unless it is there by then
        raise_shortage(error)
        return None


def invoke(command: str, argv: list[str], progress: Progress) -> None:
    """Run a step in this process. The path that it prints is not the caller's result.

    Raises PruneError for unexpected errors too: they fail this job and no other.
    """
    step = STEPS[command]
    step_context = context(command, ["--force", *["--resume"] * step.resumable, *argv])
    step_context.obj = progress
    stdout = redirect_stdout(io.TextIOWrapper(io.BytesIO(), "utf-8", "replace"))
    with _own_fault(), stdout, step_context:
        step.do(step_context)


@contextmanager
def _own_fault() -> Iterator[None]:
    """Turn unexpected errors into PruneError: they fail this job and no other."""
    try:
        yield
    except (PruneError, BrokenPipeError, Terminated):
        raise
    except (Exception, SystemExit) as error:
        raise_shortage(error)
        trace_if_wanted()
        raise PruneError(unforeseen(error)) from error


def do(job: Job, progress: Progress) -> Wrote:
    """Run a job of a study in this process; returns the files that it wrote.

    Raises PruneError if it fails, if what it depends on is not what it was found due with, in the
    eyes of this very process, or if that changes meanwhile.
    """
    from prunecli.files.atomic import WRITTEN
    from prunecli.recipe.inputs import identities
    from prunecli.recipe.records import STATE, check_folders
    from prunecli.steps._training_files import DamagedState

    check_folders(job)
    _check_given(job)
    params = _params(job.command, tuple(job.arguments))
    before = identities(params, job.reads)
    WRITTEN.clear()
    try:
        invoke(job.command, job.arguments, progress)
    except DamagedState as error:
        progress.warn(f"{error}; restarting the job")
        for state in job.folder.glob(STATE):
            state.unlink()
        invoke(job.command, job.arguments, progress)
    if identities(params, job.reads) != before:
        raise PruneError("a file that it reads changed while it ran; run it again")
    check_folders(job)
    _check_given(job)
    folder = Path(os.path.realpath(job.folder))
    return {p.name: own for p, own in WRITTEN.items() if p.parent == folder and p.exists()}


def _check_given(job: Job) -> None:
    if job.given is None:
        return
    now, given = (json.loads(json.dumps(value)) for value in (inputs(job), job.given))
    if odd := sorted(key for key in now.keys() | given.keys() if now.get(key) != given.get(key)):
        what = f"{some(odd)} changed while the study ran"
        raise PruneError(f"{what}, so the output would not match its record; run it again")


def planned(
    recipe: Path, overrides: Mapping[str, str], folder: Path | None = None
) -> tuple[Recipe, Path, list[Job]]:
    """A recipe, the folder of its study, and its jobs. Raises BadUsage with all faults at once.

    Code that the recipe names may be imported, but of a recipe that it derives from only what it,
    or `overrides`, sets there.
    """
    from prunecli.recipe.parse import scalar
    from prunecli.recipe.plan import plan
    from prunecli.recipe.read import read_recipe
    from prunecli.recipe.shipped import locate

    values = {key: scalar(text) for key, text in overrides.items()}
    study = read_recipe(locate(recipe), values, STEPS)
    folder = folder or RUNS / study.name
    names = study.own_texts
    may_name = (lambda name: True) if names is None else names.__contains__
    return study, folder, plan(study, folder, partial(check, may_name=may_name))


def inputs(job: Job, *, download: bool = True) -> Mapping[str, Any]:
    """Everything that a job's output depends on besides the program.

    With `download`, missing data is downloaded if the job says so. Raises PruneError if it cannot
    be determined, for unexpected errors too.
    """
    from prunecli.recipe.inputs import dependencies

    params = _params(job.command, tuple(job.arguments))
    if not download:
        params = {**params, "download": False}
    command = STEPS[job.command]
    with _own_fault():  # data sets are read, which may be other people's code
        return dependencies(
            params, command.reads(params), command.unsaid, command.named(params), job.reads
        )


def arguments(command: Command, options: Mapping[str, Any]) -> list[str]:
    """Command-line arguments that say what `options` say. Raises BadUsage, one fault a line.

    A key is an option's long name, or a word of an argument's metavar. A key that is neither is an
    option of the plugin that the step names, if it names one: `batches: 4` is `--opt batches=4`.
    """
    flags, places = option_names(command), argument_names(command)
    has_plugin = command.plugins.get("opt", ("", ""))[1] in options
    argv: list[str] = []
    positional: list[str] = []
    faults = []
    for key, value in options.items():
        name = key.replace("_", "-")
        if name in RESERVED:
            faults.append(f"{key!r} is set by 'prunecli run'")
        elif name in places:
            items = value if isinstance(value, list) else [value]
            if any(item is None or isinstance(item, bool | dict) for item in items):
                faults.append(f"{key!r} needs one value")
            positional += map(str, items)
        elif name in flags:
            try:
                argv += _option(flags[name], name, value)
            except BadUsage as error:
                faults.append(str(error))
        elif has_plugin:
            argv += ["--opt", f"{key}={_text(value)}"]
        else:
            known = sorted({*flags, *places} - RESERVED)
            faults.append(f"there is no option {key!r}{suggest(name, known)}")
    if faults:
        raise BadUsage("\n".join(faults))
    return [*argv, "--", *positional] if positional else argv


def option_names(command: Command) -> dict[str, click.Option]:
    return {
        flag.removeprefix("--"): option
        for option in command.params
        if isinstance(option, click.Option)
        for flag in option.opts
        if flag.startswith("--")
    }


def argument_names(command: Command) -> set[str]:
    return {
        word.strip("[]. ").lower()
        for argument in command.params
        if isinstance(argument, click.Argument)
        for word in [str(argument.name), *(argument.metavar or "").split("|")]
        if word
    }


def _option(option: click.Option, name: str, value: Any) -> list[str]:
    if option.is_flag:
        if not isinstance(value, bool):
            raise BadUsage(f"{name!r} must be true or false")
        off = option.secondary_opts
        return [f"--{name}"] if value else off[:1]
    if isinstance(value, dict):
        return [part for k, v in value.items() for part in (f"--{name}", f"{k}={_text(v)}")]
    if value is None or (isinstance(value, list) and not option.multiple):
        raise BadUsage(f"{name!r} needs one value")
    texts = [_text(item) for item in (value if isinstance(value, list) else [value])]
    try:
        for text in texts:
            option.type.convert(text, option, None)
    except click.UsageError as error:  # which click would say of the first such option only
        raise BadUsage(error.format_message()) from None
    return [part for text in texts for part in (f"--{name}", text)]


def _text(value: Any) -> str:
    """The value as a command line spells it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)
