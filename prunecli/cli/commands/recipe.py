from __future__ import annotations

import json
import os
from pathlib import Path

import click

from prunecli.cli.base import FILE, command, epilog
from prunecli.cli.streams import print_path, print_text
from prunecli.cli.study.steps import STEPS, planned
from prunecli.cli.values import Recipe, no_stream
from prunecli.errors import BadOutput, printable
from prunecli.settings.run import Form
from prunecli.settings.study import CheckSettings, CopySettings

EXAMPLES = """
prunecli recipe list
prunecli recipe cp weightmom_quick     # with the files it needs, into this folder
prunecli recipe validate study.yaml
prunecli recipe schema > recipe.schema.json
"""


@click.group("recipe", epilog=epilog(EXAMPLES))
def recipe() -> None:
    """List, show, copy and check recipes."""


@command("list", within=recipe)
def list_recipes(form: Form) -> None:
    """List the recipes that come with prunecli."""
    from prunecli.recipe.shipped import purpose, shipped

    table = {name: purpose(path) for name, path in shipped().items()}
    if form.json:
        click.echo(json.dumps(table))
        return
    width = max(map(len, table), default=0)
    for name, what in table.items():
        click.echo(printable(f"{name.ljust(width)}  {what}"))


@command("cat", within=recipe)
@click.argument("recipe", type=Recipe())
def cat(recipe: Path) -> None:
    """Print a RECIPE, given its name or path."""
    from prunecli.files.texts import read_text
    from prunecli.recipe.shipped import locate

    print_text(read_text(locate(recipe)))


@command("cp", within=recipe)
@click.argument("recipe", type=Recipe())
@click.argument("folder", type=FILE, default=".", callback=no_stream)
def copy(recipe: Path, folder: Path, settings: CopySettings) -> None:
    """Copy a RECIPE and the files that it refers to into FOLDER, for you to edit."""
    from prunecli.files.atomic import refusals, write_text
    from prunecli.recipe.shipped import locate, with_needs

    texts = {folder / path: text for path, text in with_needs(locate(recipe)).items()}
    with refusals(printable(str(folder))):
        for target in texts:
            _check_target(target, folder, settings.force)
        for target in texts:
            target.parent.mkdir(parents=True, exist_ok=True)
    for target, text in texts.items():
        write_text(target, text)
    print_path(next(iter(texts)))


def _check_target(target: Path, folder: Path, force: bool) -> None:
    """Raise BadOutput unless it can be written, inside the folder even after following links."""
    label = printable(str(target))
    if not Path(os.path.realpath(target)).is_relative_to(os.path.realpath(folder)):
        raise BadOutput(f"{label}: a link there leads out of the folder; remove it")
    if target.is_dir():
        raise BadOutput(f"{label}: it is a folder; remove it, or copy into another one")
    if os.path.lexists(target) and not force:
        raise BadOutput(f"{label}: it already exists; overwrite it with --force")


@command("validate", within=recipe, trusts=True)
@click.argument("recipe", type=Recipe())
def validate(recipe: Path, settings: CheckSettings, form: Form) -> None:
    """Check the options of every job of a RECIPE, and print the number of jobs."""
    study, _, jobs = planned(recipe, settings.overrides)
    facts = {"name": study.name, "steps": len(study.steps), "jobs": len(jobs)}
    click.echo(
        json.dumps(facts)
        if form.json
        else f"{study.name}: {facts['steps']} steps, {facts['jobs']} jobs, no faults"
    )


@command("schema", within=recipe)
def schema() -> None:
    """Print the JSON schema of recipes, for editors that check YAML while you type."""
    from prunecli.cli.study.schema import recipe_schema

    click.echo(json.dumps(recipe_schema(STEPS), indent=1))
