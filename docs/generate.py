"""Write docs/cli.md from the commands and plugins themselves: `python docs/generate.py`."""

from __future__ import annotations

import inspect
from pathlib import Path

import click

from prunecli.cli import cli
from prunecli.cli.commands.list import KINDS
from prunecli.cli.options import Setting
from prunecli.plugins.arguments import default
from prunecli.plugins.names import names
from prunecli.plugins.resolve import resolve

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


def command_text(name: str, command: click.Command) -> str:
    body = inspect.cleandoc((command.help or "").replace("\b", ""))
    text = f"## {name}\n\n{body}\n"
    if not isinstance(command, click.Group):
        pieces = command.collect_usage_pieces(click.Context(command))
        usage = " ".join(["prunecli", name, *pieces])
        text = f"## {name}\n\n`{usage}`\n\n{body}\n"
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


def text() -> str:
    commands = [command_text(name, command) for name, command in cli.commands.items()]
    plugins = [plugin_text(noun, kind) for noun, kind in KINDS.items() if names(kind)]
    return "\n".join([HEAD, *commands, *plugins])


if __name__ == "__main__":
    (Path(__file__).parent / "cli.md").write_text(text())
