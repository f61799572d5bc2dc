"""The report as one HTML file that needs nothing else."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

import jinja2

import prunecli
from prunecli.report import figures
from prunecli.report.reference import HEADINGS as COMPARED
from prunecli.report.reference import Reference, compared
from prunecli.report.rows import HEADINGS, Result, Row, cells, grouped

TEMPLATE = Path(__file__).with_name("page.html")


def as_html(results: list[Result], title: str, reference: Reference | None = None) -> str:
    """Tables and figures, a section for every model and data set."""
    sections: list[dict[str, Any]] = []
    for (model, dataset), group in groupby(grouped(results), lambda r: (r.model, r.dataset)):
        rows = list(group)
        sections.append(
            {
                "title": f"{model} on {dataset}",
                "rows": [cells(row) for row in rows],
                "compared": compared(rows, reference or {}),
                "figures": _figures(rows),
            }
        )
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        title=title,
        headings=HEADINGS,
        compared_headings=COMPARED,
        sections=sections,
        versions=results[0].get("versions", {}),
        prunecli=prunecli.__version__,
    )


def _figures(rows: list[Row]) -> list[tuple[str, str]]:
    drawn = []
    if any(not row.is_dense for row in rows):
        drawn += [
            ("Top-1 accuracy over compression", figures.accuracy(rows, "top1")),
            ("Top-5 accuracy over compression", figures.accuracy(rows, "top5")),
            ("Compression error: reached against asked", figures.compression_error(rows)),
            ("Density of each layer", figures.layer_density(rows)),
        ]
    if any(row.results[0].get("history") for row in rows):
        drawn.append(("Training loss over epochs", figures.convergence(rows)))
    return drawn
