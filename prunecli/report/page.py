"""The report as one HTML file that needs nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import jinja2

from prunecli.errors import BadUsage, printable, some
from prunecli.package import VERSION
from prunecli.report import curves, equal_loss, figures, layers, options
from prunecli.report.matching import HEADINGS as COMPARED
from prunecli.report.matching import compared
from prunecli.report.reference import Reference
from prunecli.report.rows import Row
from prunecli.report.tables import table
from prunecli.report.view import View, views
from prunecli.settings.report import CAPTIONS, LOSSES

TEMPLATE = Path(__file__).with_name("page.html")


def as_html(
    rows: list[Row], title: str, reference: Reference = (), losses: Sequence[float] = LOSSES
) -> str:
    """A page of tables and figures, a section for every model and data set."""
    numbers = count(1)
    sections = [_section(view, losses, numbers) for view in views(rows, reference)]
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        title=printable(title),
        compared_headings=COMPARED,
        loss_headings=equal_loss.headings(losses),
        sections=sections,
        versions=rows[0].first.versions or {},
        prunecli=VERSION,
    )


def _section(view: View, losses: Sequence[float], numbers: Iterator[int]) -> dict[str, Any]:
    """What the page says of one model and data set."""
    model, dataset = view.everything[0].section
    headings, lines = table(view.everything)
    return {
        "title": printable(f"{model} on {dataset}"),
        "headings": headings,
        "rows": lines,
        "compared": compared(view.pairs),
        "equal_loss": equal_loss.table(view.rows, losses),
        "figures": [
            (CAPTIONS[name], _inline(DRAWINGS[name](view), next(numbers))) for name in _drawn(view)
        ],
    }


def _inline(svg: str, number: int) -> str:
    """A figure as a part of the page, no narrower than its text can be read at.

    Each figure has ids from 1 on, but they are of the whole page: its number sets them apart.
    """
    names = r'( id="|href="#|url\(#)'
    svg = re.sub("<[^>]*>", lambda tag: re.sub(names, rf"\g<1>f{number}-", tag[0]), svg)
    return re.sub('<svg (.*?width="(.*?)")', r'<svg style="min-width: \2" \1', svg, count=1)


DRAWINGS: dict[str, Callable[[View], str]] = {
    "top1": lambda view: figures.accuracy(view, "top1"),
    "top5": lambda view: figures.accuracy(view, "top5"),
    "degradation": figures.degradation,
    "parameters": figures.parameters,
    "options": lambda view: options.by_option(view, _top1, "test top-1, %"),
    "options-sparsity": lambda view: options.by_option(view, _sparsity, "sparsity reached, %"),
    "error": figures.compression_error,
    "critical": figures.critical,
    "density": layers.density,
    "loss": curves.convergence,
    "top1-epochs": curves.accuracy,
    "sparsity": curves.sparsity,
    "pruned": curves.pruned,
    "weights": layers.spread,
    "distributions": layers.distributions,
}
"""What draws each figure of `settings.report`."""


def _drawn(view: View) -> list[str]:
    """The figures that these rows have something to show in."""
    pruned, dense = bool(view.lines), len(view.unpruned)
    published = any(pair.theirs and pair.theirs.parameters for pair in view.pairs)
    optional = {
        "degradation": pruned and dense == 1,
        "parameters": pruned and (len(view.dense) > dense or published),
        "options": options.varied(view.rows),
        "options-sparsity": options.varied(view.rows) and any(row.is_free for row in view.rows),
        "error": any(not row.is_dense and not row.is_free for row in view.rows),
        "critical": view.critical,
        "loss": any(len(row.history) > 1 for row in view.rows),
        "top1-epochs": curves.evaluated_in_training(view),
        "sparsity": curves.pruned_in_training(view),
        "pruned": curves.pruned_in_training(view),
        "weights": layers.with_weights(view),
        "distributions": layers.with_layer_weights(view),
    }
    return [name for name in CAPTIONS if optional.get(name, pruned)]


def _top1(row: Row) -> list[float]:
    return row.values("top1")


def _sparsity(row: Row) -> list[float]:
    return [100 * (1 - density) for density in row.values("density")]


def as_svg(rows: list[Row], figure: str) -> str:
    """One figure alone. Raises BadUsage for rows of several models or data sets, or of none."""
    kinds = {f"{row.model} on {row.dataset}" for row in rows}
    if len(kinds) > 1:
        raise BadUsage(f"a figure is of one model and data set, not of {some(sorted(kinds))}")
    [view] = views(rows)
    if figure not in _drawn(view):
        raise BadUsage(f"these results have nothing to show in the figure {figure!r}")
    return DRAWINGS[figure](view)
