"""What all commands share: their class, their settings, their progress and their result."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import is_dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import click

from prunecli.cli.answers import Answer, as_table
from prunecli.cli.call import JSON, Call
from prunecli.cli.groups import CONTEXT, Context
from prunecli.cli.habits import ELSEWHERE
from prunecli.cli.memory import RESERVE, lowered
from prunecli.cli.options import Setting, trust_option
from prunecli.cli.streams import print_path
from prunecli.cli.values import FOLDER, Place
from prunecli.errors import BadUsage, printable
from prunecli.plugins.resolve import resolve
from prunecli.plugins.trust import trust
from prunecli.runtime.shortage import Shortage, raise_shortage
from prunecli.settings.run import RunOptions, Talk
from prunecli.settings.table import options, plugins, read
from prunecli.settings.training import Carried

FILE = Place(path_type=Path)
A = TypeVar("A", bound=Answer)


class Command(click.Command):
    """A subcommand, with the facts that a recipe needs about it.

    Its options come from `tables` of settings. Given the command's own table, `settings`:
    `product` names the file that a recipe's job writes, `reads` lists the splits of the data set
    that it reads, and `check` raises BadUsage for options that exclude each other. `carries` maps
    the hyperparameters recorded in the input checkpoint to those in the output checkpoint; None
    means unknown. `folder`: whether the output can be a folder. With --json it prints an `answer`,
    and its `title`.
    """

    context_class = Context

    def __init__(
        self,
        *args: Any,
        tables: Mapping[str, type],
        answer: type[Answer],
        title: str,
        product: str | Callable[[Any], str] = "",
        reads: Callable[[Any], list[str]] = lambda settings: [],
        check: Callable[[Any], object] = lambda settings: None,
        carries: Callable[[Any, Carried], Carried] = lambda settings, inherited: None,
        folder: Callable[[Mapping[str, Any]], bool] = lambda params: False,
        **kwargs: Any,
    ) -> None:
        kwargs["context_settings"] = CONTEXT
        super().__init__(*args, **kwargs)
        self.answer, self.title = answer, title
        self._product = product if callable(product) else lambda settings: product
        self._tables, self._reads = tables, reads
        self._check, self._carries, self._folder = check, carries, folder
        rows = {param.row.name: param.row for param in self.params if isinstance(param, Setting)}
        self.plugins = plugins(rows)
        """By option that sets a plugin's options (`k=v`, or short for it): the kind of plugin, and
        the option that names it."""
        self.resumable = "resume" in rows
        self.unsaid = {n: row.silent for n, row in rows.items() if row.default is not None}
        """By option that has a default: the value that counts as not given."""

    def settings(self, params: Mapping[str, Any]) -> Any:
        """The command's own table of settings, from the parameters."""
        return read(self._tables["settings"], params)

    def product(self, params: Mapping[str, Any]) -> str:
        return self._product(self.settings(params))

    def reads(self, params: Mapping[str, Any]) -> list[str]:
        return self._reads(self.settings(params))

    def carried(self, params: Mapping[str, Any], inherited: Carried) -> Carried:
        """The hyperparameters that its checkpoint will record; None if unknown.

        Raises BadUsage for an untrained checkpoint without `epochs`.
        """
        return self._carries(self.settings(params), inherited)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments.

        Raises UsageError; for an option of other programs, it names prunecli's equivalent.
        """
        try:
            rest = super().parse_args(ctx, [JSON, *args] if ctx.meta.get(JSON) else args)
        except click.NoSuchOption as error:
            own = {flag for param in self.params for flag in param.opts}
            meant = [flag for flag in ELSEWHERE.get(error.option_name, ()) if flag in own]
            if meant:
                what = f"{error.message} Use {' or '.join(meant)}."
                raise click.UsageError(what, ctx) from None
            raise
        if call := ctx.find_object(Call):
            call.json = ctx.params["json"]
        return rest

    def named(self, params: Mapping[str, Any]) -> set[tuple[str, str]]:
        """Kind and name of each plugin that the options name; a pruner's can name methods."""
        found = {(kind, str(params[by])) for kind, by in self.plugins.values() if params.get(by)}
        if params.get("pruner"):
            found |= {("scorers", str(text)) for text in (params.get("opt") or {}).values()}
        return found

    def invoke(self, ctx: click.Context) -> Any:
        trust(name for _, name in self.named(ctx.params) if ":" in name)
        if not ctx.params["json"]:
            return self.do(ctx)
        with redirect_stdout(sys.stderr):  # where plugins may print
            answer = self.do(ctx)
        if answer is not None:
            (ctx.find_object(Call) or Call()).answer(as_table(answer, self.title))
        return None

    def do(self, ctx: click.Context) -> Any:
        """Run the command without trusting the names in its line: a recipe's base can set them."""
        reserve = bytearray(RESERVE)
        try:
            if FOLDER in ctx.meta and not self._folder(ctx.params):
                label = printable(ctx.meta[FOLDER])
                raise BadUsage(f"{label}: the output cannot be a folder; give a file with -o")
            return super().invoke(ctx)
        except Exception as error:
            del reserve
            try:
                raise_shortage(error)
            except Shortage as short:
                raise short.where(lowered(ctx.params)) from error
            raise

    def verify(self, params: Mapping[str, Any], epochs: int | None = None) -> None:
        """Check the settings, and the plugins' options. Raises BadUsage.

        `epochs` is the length of the training, for pruners. Can import torch.
        """
        self._check(self.settings(params))
        for option, (kind, named_by) in self.plugins.items():
            given = params.get(option) or {}
            if params.get(named_by):
                own = given if isinstance(given, Mapping) else {option: given}
                plugin = resolve(kind, params[named_by], own, by_file=False)
                if kind == "pruners" and epochs is not None:
                    plugin.check_fits(epochs)
            elif given and named_by != "dataset":
                raise BadUsage(f"--{option.replace('_', '-')} needs --{named_by}")


def epilog(examples: str) -> str:
    """Examples that click does not re-wrap."""
    return "\b\nExamples:\n" + "".join(f"  {line}\n" for line in examples.strip().splitlines())


def command(
    name: str,
    *,
    within: click.Group | None = None,
    examples: str = "",
    trusts: bool = False,
    **facts: Any,
) -> Callable[[Callable[..., Answer | None]], Command]:
    """A decorator that makes a function a command; parameters that are tables become options.

    The other parameters are click's arguments. With --json the function returns its answer;
    otherwise it prints and returns None. `trusts`: add --trust, so files can name imports.
    """

    def decorate(function: Callable[..., Answer | None]) -> Command:
        hints = get_type_hints(function)
        tables: dict[str, type] = {
            key: hint
            for key, hint in hints.items()
            if isinstance(hint, type) and is_dataclass(hint)
        }
        own: list[click.Parameter] = [
            Setting(row) for table in tables.values() for row in options(table)
        ]
        own += [trust_option()] * trusts

        @wraps(function)
        def callback(**params: Any) -> Answer | None:
            plain = {key: value for key, value in params.items() if key in hints}
            return function(**plain, **{key: read(table, params) for key, table in tables.items()})

        facts["epilog"] = epilog(examples) if examples else None
        facts["title"] = f"{within.name} {name}" if within else name
        facts["answer"] = get_args(hints["return"])[0]  # of `... | None`
        made = click.command(name, cls=Command, params=own, tables=tables, **facts)(callback)
        if within is not None:
            within.add_command(made)
        return made

    return decorate


def told(run: RunOptions, talk: Talk) -> RunOptions:
    """The run's options, with progress that suits the terminal."""
    from prunecli.cli.progress import progress

    return replace(run, progress=progress(talk.quiet, talk.verbose))


def done(run: RunOptions, talk: Talk, output: Path, answer: Callable[[Path, bool], A]) -> A | None:
    """Print the path of the output, or with --json return the answer."""
    if run.dry_run and not talk.quiet:
        click.echo("dry run: nothing was written", err=True)
    if talk.json:
        return answer(output, run.dry_run)
    print_path(output)
    return None
