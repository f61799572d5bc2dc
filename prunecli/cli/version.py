"""`--version`: what is installed, as a report of a fault needs it. Nothing is imported for it."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import click

from prunecli.package import NAME, VERSION

COMPUTE = ("torch", "torchvision", "numpy", "safetensors")


def installed(name: str) -> str:
    """A package's version. A broken installation must be able to say what it lacks."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _show(context: click.Context, _: click.Parameter, asked: bool) -> None:
    if not asked or context.resilient_parsing:
        return
    others = ", ".join(f"{name} {installed(name)}" for name in COMPUTE)
    click.echo(f"{NAME}, version {VERSION}")
    click.echo(f"Python {platform.python_version()}, {others}, {platform.platform()}")
    context.exit()


version_option = click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show,
    help="Show the versions and exit.",
)
