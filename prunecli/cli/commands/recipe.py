from __future__ import annotations

import json
import os
from pathlib import Path

import click

from prunecli.cli.answers import Copied, Recipes, RecipeText, SchemaText, Valid
from prunecli.cli.base import FILE, command, epilog
from prunecli.cli.groups import Group
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


@click.group("recipe", cls=Group, epilog=epilog(EXAMPLES))
def recipe() -> None:
    """List, show, copy and check recipes."""


@command("list", within=recipe)
def list_recipes(form: Form) -> Recipes | None:
    """List the recipes that come with prunecli."""
    from prunecli.recipe.shipped import purpose, shipped

    table = {name: purpose(path) for name, path in shipped().items()}
    if form.json:
        return Recipes(recipes=table)
    width = max(map(len, table), default=0)
    for name, what in table.items():
        click.echo(printable(f"{name.ljust(width)}  {what}"))
    return None


@command("cat", within=recipe)
@click.argument("recipe", type=Recipe())
def cat(recipe: Path, form: Form) -> RecipeText | None:
    """Print a RECIPE, given its name or path."""
    from prunecli.files.texts import read_text
    from prunecli.recipe.shipped import locate

    text = read_text(locate(recipe))
    if form.json:
        return RecipeText(text=text)
    print_text(text)
    return None


@command("cp", within=recipe)
@click.argument("recipe", type=Recipe())
@click.argument("folder", type=FILE, default=".", callback=no_stream)
def copy(recipe: Path, folder: Path, settings: CopySettings, form: Form) -> Copied | None:
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
    first, outputs = next(iter(texts)), tuple(map(str, texts))
    if form.json:
        return Copied(output=str(first), outputs=outputs)
    print_path(first)
    return None


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
def validate(recipe: Path, settings: CheckSettings, form: Form) -> Valid | None:
    """Check the options of every job of a RECIPE, and print the number of jobs."""
    study, _, jobs = planned(recipe, settings.overrides)
    steps = len(study.steps)
    if form.json:
        return Valid(name=study.name, steps=steps, jobs=len(jobs))
    click.echo(f"{study.name}: {steps} steps, {len(jobs)} jobs, no faults")
    return None


@command("schema", within=recipe)
def schema(form: Form) -> SchemaText | None:
    """Print the JSON schema of recipes, for editors that check YAML while you type."""
    from prunecli.cli.study.schema import recipe_schema

    made = recipe_schema(STEPS)
    if form.json:
        return SchemaText(schema=made)
    click.echo(json.dumps(made, indent=1))
    return None
