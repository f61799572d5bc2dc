"""What all commands share: their class, options, progress and last words."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from prunecli.cli.habits import ELSEWHERE
from prunecli.cli.memory import RESERVE, lowered
from prunecli.cli.streams import print_path
from prunecli.cli.values import KeyValue, Named, Place, as_dict, no_stream
from prunecli.errors import BadUsage, printable
from prunecli.plugins.resolve import resolve
from prunecli.plugins.trust import trust
from prunecli.runtime.shortage import Shortage, raise_shortage

if TYPE_CHECKING:
    from prunecli.images.source import Source
    from prunecli.scoring.scored import Scoring
    from prunecli.settings.common import Common

F = TypeVar("F", bound=Callable[..., Any])
FILE = Place(path_type=Path)


class Command(click.Command):
    """A subcommand, with what a recipe has to know of it.

    Given the parameters, `product` names the file that a recipe's job writes, and `reads` the
    splits of the data set that it reads. `plugins` maps each `k=v` option, or one that is short for
    `k=v`, to the kind of plugin whose options it sets and the option that names the plugin.
    """

    def __init__(
        self,
        *args: Any,
        product: str | Callable[[Mapping[str, Any]], str] = "",
        reads: Callable[[Mapping[str, Any]], list[str]] = lambda params: [],
        plugins: Mapping[str, tuple[str, str]] | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs["context_settings"] = {
            "help_option_names": ["-h", "--help"],
            "max_content_width": 100,
        }
        super().__init__(*args, **kwargs)
        self.product = product if callable(product) else lambda params: product
        self.reads = reads
        self.plugins = plugins or {}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Raises UsageError with the name that is ours for what other programs call otherwise."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            own = {flag for param in self.params for flag in param.opts}
            meant = [flag for flag in ELSEWHERE.get(error.option_name, ()) if flag in own]
            if meant:
                what = f"{error.message} Here it is {' or '.join(meant)}."
                raise click.UsageError(what, ctx) from None
            raise

    def named(self, params: Mapping[str, Any]) -> set[tuple[str, str]]:
        """Kind and name of each plugin that the options name; those of a pruner may be methods."""
        found = {(kind, str(params[by])) for kind, by in self.plugins.values() if params.get(by)}
        if params.get("pruner"):
            found |= {("scorers", str(text)) for text in (params.get("opt") or {}).values()}
        return found

    def invoke(self, ctx: click.Context) -> Any:
        trust(name for _, name in self.named(ctx.params) if ":" in name)
        return self.do(ctx)

    def do(self, ctx: click.Context) -> Any:
        """As `invoke`, of a command line that is not the user's own: a job's may be a base's."""
        reserve = bytearray(RESERVE)
        try:
            return super().invoke(ctx)
        except Exception as error:
            del reserve
            try:
                raise_shortage(error)
            except Shortage as short:
                raise short.where(lowered(ctx.params)) from error
            raise

    @property
    def resumable(self) -> bool:
        return any(option.name == "resume" for option in self.params)

    def verify(self, params: Mapping[str, Any]) -> None:
        """Check plugin options against the plugins' own. Raises BadUsage. May import torch."""
        for option, (kind, named_by) in self.plugins.items():
            given = params.get(option) or {}
            if params.get(named_by):
                own = given if isinstance(given, Mapping) else {option: given}
                resolve(kind, params[named_by], own, by_file=False)
            elif given and named_by != "dataset":
                raise BadUsage(f"--{option.replace('_', '-')} needs --{named_by}")


def examples(text: str) -> str:
    """An epilog that click leaves as it is."""
    return "\b\nExamples:\n" + "".join(f"  {line}\n" for line in text.strip().splitlines())


def key_values(flag: str, help_text: str) -> Callable[[F], F]:
    return click.option(
        flag, type=KeyValue(), multiple=True, callback=as_dict, help=help_text, metavar="K=V"
    )


def stack(*options: Callable[[Any], Any]) -> Callable[[F], F]:
    """Several option decorators as one, in the order of the help page."""

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


json_option = click.option("--json", is_flag=True, help="Print one JSON object to stdout.")
quiet_option = click.option(
    "-q", "--quiet", is_flag=True, envvar="PRUNECLI_QUIET", help="Say nothing but errors."
)
verbose_option = click.option(
    "-v", "--verbose", is_flag=True, envvar="PRUNECLI_VERBOSE", help="Say more."
)
common_options = stack(
    # As text: a path does not keep the slash at its end.
    click.option(
        "-o",
        "--output",
        type=Place(),
        callback=no_stream,
        help="Where to write; derived if not given.",
    ),
    click.option("--force", is_flag=True, help="Replace an existing output."),
    click.option("--wait", is_flag=True, help="Wait for another process that writes the output."),
    click.option(
        "--dry-run",
        is_flag=True,
        help="Check options and input files, though not the data set; write nothing.",
    ),
    json_option,
    quiet_option,
    verbose_option,
)


def _device(ctx: click.Context, param: click.Parameter, value: str) -> str:
    # torch takes the number modulo 256: cuda:256 would be another GPU than was asked for.
    if not re.fullmatch(r"auto|cpu|cuda(:(0|[1-9][0-9]?))?", value, re.ASCII):
        raise click.BadParameter(f"{value!r} is not auto, cpu, cuda or cuda:N", ctx, param)
    return value


device_option = click.option(
    "--device",
    default="auto",
    envvar="PRUNECLI_DEVICE",
    show_default=True,
    metavar="auto|cpu|cuda[:N]",
    callback=_device,
    help="Where to compute; an explicit cuda never falls back.",
)
seed_option = click.option(
    "--seed", type=click.IntRange(0, 2**31 - 1), help="Of all randomness; else the checkpoint's."
)


def _trust(ctx: click.Context, param: click.Parameter, names: tuple[str, ...]) -> None:
    trust(names)


trust_option = click.option(
    "--trust",
    multiple=True,
    envvar="PRUNECLI_TRUST",
    metavar="PACKAGE",
    expose_value=False,
    callback=_trust,
    help="Let files name models and data of this package or import path: it is imported, which "
    "runs its code; repeatable.",
)
source_options = stack(
    click.option("--dataset", type=Named("data"), help="Data set; else the checkpoint's."),
    key_values("--dataset-opt", "Option of the data set; repeatable."),
    click.option(
        "--data-dir",
        type=Place(path_type=Path, readable=False),  # of a study's job, it is for that to say
        default="data",
        show_default=True,
        envvar="PRUNECLI_DATA_DIR",
        help="Where data sets are.",
    ),
    click.option("--download", is_flag=True, help="Download the data set if it is missing."),
    trust_option,
)
MODEL_PLUGIN = {"model_opt": ("models", "model"), "thin": ("models", "model")}
SOURCE_PLUGIN = {"dataset_opt": ("data", "dataset")}
PRUNER_PLUGIN = {"opt": ("pruners", "pruner")}
SCORER_PLUGIN = {"opt": ("scorers", "method")}
scoring_options = stack(
    key_values("--opt", "Option of the method; repeatable."),
    source_options,
    click.option(
        "--batch-size", type=click.IntRange(1, 1_000_000), default=128, show_default=True,
        help="Images per scoring batch.",
    ),
    click.option("--exclude-classifier", is_flag=True, help="Leave the last linear layer whole."),
    click.option("--targets", multiple=True, metavar="PATTERN",
                 help="Only weights whose names match whole (shell pattern); repeatable."),
    click.option("--ignore", multiple=True, metavar="PATTERN",
                 help="Leave weights whose names match whole (shell pattern); repeatable."),
)  # fmt: skip


def scoring_reads(params: Mapping[str, Any]) -> list[str]:
    """Scoring by weights alone reads no data."""
    method = params["method"]
    takes = bool(method) and resolve("scorers", method, by_file=False).takes_model
    return ["train"] if takes else []


def source(params: Mapping[str, Any]) -> Source:
    from prunecli.images.source import Source

    return Source(params["dataset"], params["dataset_opt"], params["data_dir"], params["download"])


def scoring(params: Mapping[str, Any]) -> Scoring:
    from prunecli.scoring.scored import Scoring

    return Scoring(
        params["method"],
        params["opt"],
        source(params),
        params["batch_size"],
        params["targets"],
        params["ignore"],
        params["exclude_classifier"],
    )


def output_path(params: Mapping[str, Any], folder: bool = False) -> Path | None:
    """Where to write, if that was said. Raises BadUsage for a folder's name, unless it may be."""
    text = params["output"]
    if text and text.endswith(os.sep) and not folder:
        raise BadUsage(f"{printable(text)}: that is the name of a folder; name a file with -o")
    return None if text is None else Path(text)


def common(params: Mapping[str, Any], folder: bool = False) -> Common:
    """The shared options as the steps take them, with a progress that suits the terminal.

    `folder`: the output may be one.
    """
    from prunecli.cli.progress import progress
    from prunecli.settings.common import Common

    return Common(
        output=output_path(params, folder),
        force=params["force"],
        wait=params["wait"],
        dry_run=params["dry_run"],
        device=params.get("device", "auto"),
        seed=params.get("seed"),
        progress=progress(params["quiet"], params["verbose"]),
    )


def done(params: Mapping[str, Any], output: Path, holds: str = "meta") -> None:
    """Print the result: the output's path, or with `--json` what was written.

    `holds` says what that is: an artifact's "meta", a "result" in JSON, or "" for neither.
    """
    if params["dry_run"] and not params["quiet"]:
        click.echo("dry run: nothing was written", err=True)
    if not params["json"]:
        print_path(output)
        return
    facts: dict[str, Any] = {"output": str(output), "dry_run": params["dry_run"]}
    if holds == "result" and not params["dry_run"]:
        facts["result"] = json.loads(output.read_text())
    elif holds == "meta" and not params["dry_run"]:
        from prunecli.files.tensors import TensorFile

        file = TensorFile(output)
        facts |= {"sha256": file.sha256, "meta": file.meta}
    click.echo(json.dumps(facts))
