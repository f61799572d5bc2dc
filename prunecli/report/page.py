"""The report as one HTML file that needs nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import count, groupby
from pathlib import Path
from typing import Any

import jinja2

from prunecli.errors import BadUsage, printable, some
from prunecli.package import VERSION
from prunecli.report import curves, figures
from prunecli.report.reference import HEADINGS as COMPARED
from prunecli.report.reference import Reference, compared
from prunecli.report.rows import Row, rounded, unpruned
from prunecli.report.tables import HEADINGS, cells
from prunecli.settings.report import CAPTIONS

TEMPLATE = Path(__file__).with_name("page.html")


def as_html(rows: list[Row], title: str, reference: Reference | None = None) -> str:
    """A page of tables and figures, a section for every model and data set."""
    sections: list[dict[str, Any]] = []
    numbers = count(1)
    for (model, dataset), group in groupby(rows, lambda r: (r.model, r.dataset)):
        own = list(group)
        sections.append(
            {
                "title": printable(f"{model} on {dataset}"),
                "rows": [cells(row) for row in own],
                "compared": [(rounded(r), table) for r, table in compared(own, reference or {})],
                "figures": [
                    (CAPTIONS[name], _inline(DRAWINGS[name](own), next(numbers)))
                    for name in _drawn(own)
                ],
            }
        )
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        title=printable(title),
        headings=HEADINGS,
        compared_headings=COMPARED,
        sections=sections,
        versions=rows[0].first.versions or {},
        prunecli=VERSION,
    )


def _inline(svg: str, number: int) -> str:
    """A figure as a part of the page, no narrower than its text can be read at.

    Each figure has ids from 1 on, but they are of the whole page: its number sets them apart.
    """
    names = r'( id="|href="#|url\(#)'
    svg = re.sub("<[^>]*>", lambda tag: re.sub(names, rf"\g<1>f{number}-", tag[0]), svg)
    return re.sub('<svg (.*?width="(.*?)")', r'<svg style="min-width: \2" \1', svg, count=1)


DRAWINGS: dict[str, Callable[[list[Row]], str]] = {
    "top1": lambda rows: figures.accuracy(rows, "top1"),
    "top5": lambda rows: figures.accuracy(rows, "top5"),
    "degradation": figures.degradation,
    "parameters": figures.parameters,
    "options": lambda rows: figures.by_option(rows, _top1, "test top-1, %"),
    "options-sparsity": lambda rows: figures.by_option(rows, _sparsity, "sparsity reached, %"),
    "error": figures.compression_error,
    "density": figures.layer_density,
    "loss": curves.convergence,
    "top1-epochs": curves.accuracy,
    "sparsity": curves.sparsity,
    "pruned": curves.pruned,
    "weights": curves.weights,
}
"""What draws each figure of `settings.report`."""


def _drawn(rows: list[Row]) -> list[str]:
    """The figures that these rows have something to show in."""
    pruned, dense = any(not row.is_dense for row in rows), len(unpruned(rows))
    optional = {
        "degradation": pruned and dense == 1,
        "parameters": pruned and sum(row.is_dense for row in rows) > dense,
        "options": figures.varied(rows),
        "options-sparsity": figures.varied(rows) and any(row.is_free for row in rows),
        "error": any(not row.is_dense and not row.is_free for row in rows),
        "loss": any(len(row.history) > 1 for row in rows),
        "top1-epochs": curves.evaluated_in_training(rows),
        "sparsity": curves.pruned_in_training(rows),
        "pruned": curves.pruned_in_training(rows),
        "weights": curves.with_weights(rows),
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
    if figure not in _drawn(rows):
        raise BadUsage(f"these results have nothing to show in the figure {figure!r}")
    return DRAWINGS[figure](rows)
