"""Write what is generated from commands and plugins, see `PAGES`: `python docs/generate.py`."""

from __future__ import annotations

import inspect
from pathlib import Path

import click
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from prunecli.cli import cli
from prunecli.cli.base import Command
from prunecli.cli.commands.list import KINDS
from prunecli.cli.commands.schema import commands
from prunecli.cli.failures import kinds
from prunecli.cli.options import Setting
from prunecli.cli.study.steps import STEPS
from prunecli.plugins.arguments import default
from prunecli.plugins.names import names
from prunecli.plugins.resolve import resolve

HERE = Path(__file__).parent
HEAD = """# Commands

<!-- Made by docs/generate.py; a test checks that it is up to date. -->
"""


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in r] for r in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def option_row(option: Setting) -> list[str]:
    row = option.row
    names = ", ".join(f"`{flag}`" for flag in (*option.opts, *option.secondary_opts))
    names += f" `{option.metavar}`" * bool(option.metavar)
    told = "required" if row.required else row.otherwise
    unset = [f"`${row.envvar}`"] * bool(row.envvar) + [told] * bool(told)
    return [names, row.help, row.limits and f"`{row.limits}`", ", else ".join(unset)]


def usage(command: Command) -> str:
    pieces = command.collect_usage_pieces(click.Context(command))
    return " ".join(["prunecli", command.title, *pieces])


def command_text(name: str, command: click.Command) -> str:
    body = inspect.cleandoc((command.help or "").replace("\b", ""))
    text = f"## {name}\n\n{body}\n"
    if isinstance(command, Command):
        text = f"## {name}\n\n`{usage(command)}`\n\n{body}\n"
    if command.epilog:
        examples = "\n".join(line.strip() for line in command.epilog.splitlines()[2:])
        text += f"\n```sh\n{examples}\n```\n"
    options = [option_row(p) for p in command.params if isinstance(p, Setting)]
    if options:
        text += "\n" + table(["option", "", "values", "if not given"], options)
    if isinstance(command, click.Group):
        parts = [command_text(f"{name} {own}", part) for own, part in command.commands.items()]
        text += "".join(f"\n#{part}" for part in parts)
    return text


def plugin_text(noun: str, kind: str) -> str:
    rows = []
    for name in names(kind):
        plugin = resolve(kind, name, by_file=False)
        shown = ", ".join(f"`{option}={default(p)}`" for option, p in plugin.declared.items())
        rows.append([f"`{name}`", shown, plugin.summary])
    return f"## {noun}\n\n" + table([noun[:-1], "options", ""], rows)


def reference() -> str:
    every = [command_text(name, command) for name, command in cli.commands.items()]
    plugins = [plugin_text(noun, kind) for noun, kind in KINDS.items() if names(kind)]
    return "\n".join([HEAD, *every, *plugins])


def written(command: Command) -> str:
    """The name that a study gives to what a step writes; "" for other commands."""
    rows = [option.row for option in command.params if isinstance(option, Setting)]
    defaults = {row.name: row.default for row in rows}
    return command.product(defaults) if command.title in STEPS else ""


def brief(command: Command) -> dict[str, object]:
    """What a program that calls a command has to know of it."""
    rows = [option.row for option in command.params if isinstance(option, Setting)]
    return {
        "usage": usage(command),
        "purpose": " ".join((command.help or "").partition("\n\n")[0].split()),
        "needs": [row.flag for row in rows if row.required],
        "writes": written(command),
        "fields": [name for name in command.answer.types() if name != "output"],
    }


def agents() -> str:
    facts = {
        "commands": [brief(command) for command in commands(click.Context(cli))],
        "failures": kinds(),
        "kinds": list(KINDS),
    }
    loader = FileSystemLoader(HERE)
    engine = Environment(loader=loader, undefined=StrictUndefined, trim_blocks=True,
                         keep_trailing_newline=True)  # fmt: skip
    return engine.get_template("AGENTS.md.jinja").render(facts)


PAGES = {HERE / "cli.md": reference, HERE.parent / "AGENTS.md": agents}

if __name__ == "__main__":
    for path, text in PAGES.items():
        path.write_text(text())
