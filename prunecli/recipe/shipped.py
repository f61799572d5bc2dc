"""The recipes that come with the program: in a source tree, or where an installation puts them."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, files
from itertools import takewhile
from pathlib import Path

import prunecli
from prunecli.errors import BadInput, printable, reason, suggest

PLACE = "share/prunecli/recipes"
BESIDE = re.compile(r"^\s*base:\s*(\S+)\s*$|\$\{here\}/([\w./-]+)", re.MULTILINE)


def shipped() -> dict[str, Path]:
    """The recipes by name."""
    root = Path(prunecli.__file__).resolve().parents[1]
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

    Raises BadInput if there is neither.
    """
    if recipe.exists():
        return recipe
    known = shipped()
    if recipe.parent in (Path(), Path("recipes")) and recipe.suffix in ("", ".yaml"):
        name = recipe.name.removesuffix(".yaml")
        if name in known:
            return known[name]
        raise BadInput(
            f"{printable(str(recipe))}: there is no such file or recipe{suggest(name, list(known))}"
        )
    raise BadInput(f"{printable(str(recipe))}: cannot be read: No such file or directory")


def read(path: Path) -> str:
    """A recipe's text, or that of what it refers to. Raises BadInput."""
    label = printable(str(path))
    try:
        return path.read_bytes().decode("utf-8")  # with its own ends of lines
    except OSError as error:
        raise BadInput(f"{label}: cannot be read: {reason(error)}") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"{label}: it is not UTF-8 at byte {error.start}") from None


def with_needs(recipe: Path) -> list[Path]:
    """A recipe's file, and those beside it that it refers to: its base, published results."""
    found = [recipe]
    for path in found:
        if path.suffix == ".yaml":
            for match in BESIDE.finditer(read(path)):
                other = recipe.with_name(match[1] or match[2])
                if other not in found and other.is_file():
                    found.append(other)
    return found


def purpose(recipe: Path) -> str:
    """The first paragraph of its header."""
    lines = recipe.read_text(encoding="utf-8").splitlines()
    header = takewhile(lambda line: line.strip("# "), lines)
    return " ".join(line.removeprefix("#").strip() for line in header)
