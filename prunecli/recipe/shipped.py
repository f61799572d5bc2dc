"""The recipes that come with the program: in a source tree, or where an installation puts them."""

from __future__ import annotations

import os
import re
from importlib.metadata import PackageNotFoundError, files
from itertools import takewhile
from pathlib import Path

from prunecli.errors import BadInput, BadUsage, printable, suggest
from prunecli.files.texts import read_text
from prunecli.package import FOLDER
from prunecli.recipe.parse import load_yaml, texts
from prunecli.runtime.machine import at_home

PLACE = "share/prunecli/recipes"
BESIDE = re.compile(r"\$\{here\}/+([^$]*)")


def shipped() -> dict[str, Path]:
    """The recipes by name."""
    root = Path(FOLDER).resolve().parent
    if (root / "pyproject.toml").is_file():
        found = (root / "recipes").glob("*.yaml")
        return {path.stem: path for path in sorted(found)}
    try:
        installed = files("prunecli") or []
    except PackageNotFoundError:
        installed = []
    found = (Path(str(f.locate())) for f in installed if PLACE in str(f) and f.suffix == ".yaml")
    return {path.stem: path.resolve() for path in sorted(found)}


def locate(recipe: Path) -> Path:
    """The file of that path, else the shipped recipe of that name: 'weightmom', 'recipes/gmp.yaml'.

    What lies at the path and is no file, such as the folder of a study, hides no recipe of its
    name. Raises BadInput if there is neither.
    """
    if _is_file(recipe):
        return recipe
    known, label = shipped(), printable(str(recipe))
    name = recipe.name.removesuffix(".yaml")
    named = recipe.parent in (Path(), Path("recipes")) and recipe.suffix in ("", ".yaml")
    named &= name != "-"
    if named and name in known:
        return known[name]
    if os.path.isdir(recipe):  # noqa: PTH112
        raise BadInput(f"{label}: it is a folder; give the recipe in it, a file")
    if named and not os.path.lexists(recipe):
        raise BadInput(f"{label}: there is no such file or recipe{suggest(name, list(known))}")
    return recipe  # for whoever reads it to say why that cannot be done


def with_needs(recipe: Path) -> dict[Path, str]:
    """The texts of a recipe's file and of those that it refers to, by their paths from its folder.

    Those are its base, and what either says lies below its own folder, such as published results.
    Raises BadUsage for what is not below the recipe's folder: a copy could not refer to it.
    """
    found: dict[Path, str] = {}
    recipes, others = [Path(recipe.name)], []
    for path in recipes:
        found[path] = read_text(recipe.parent / path)
        base, named = _referred_to(recipe.parent / path)
        others += [_below(recipe, path, other) for other in named]
        beside = [_below(recipe, path, base)] if base else []
        recipes += [p for p in beside if p not in found and _is_file(recipe.parent / p)]
    for path in others:
        if path not in found and _is_file(recipe.parent / path):
            found[path] = read_text(recipe.parent / path)
    return found


def _referred_to(recipe: Path) -> tuple[str, list[str]]:
    """What a recipe names as its base, if it does, and as files below its folder."""
    document, _ = load_yaml(recipe)
    base = document.get("base", "") if isinstance(document, dict) else ""
    below = [match for text in texts(document) for match in BESIDE.findall(text)]
    return str(base), below


def _below(recipe: Path, path: Path, other: str) -> Path:
    """The path from the recipe's folder to what a recipe at `path` from there names."""
    beside = Path(os.path.normpath(path.parent / at_home(other)))
    if beside.is_absolute() or ".." in beside.parts:
        label = printable(str(recipe.parent / path))
        mend = "copy it by hand, and name the copy in the recipe"
        raise BadUsage(f"{label}: {other!r} is not below the recipe's folder; {mend}")
    return beside


def _is_file(path: Path) -> bool:
    """Whether it is a file, as `Path.is_file`, which fails where nobody may look."""
    return os.path.isfile(path)  # noqa: PTH113


def purpose(recipe: Path) -> str:
    """The first paragraph of its header."""
    lines = read_text(recipe).splitlines()
    header = takewhile(lambda line: line.strip("# "), lines)
    return " ".join(line.removeprefix("#").strip() for line in header)
