"""The report as one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import jinja2

from prunecli.errors import printable
from prunecli.package import VERSION
from prunecli.report.figures.inline import Inline, inline, variable
from prunecli.report.figures.kinds import FIGURES, caption, there_are
from prunecli.report.figures.looks import DARK
from prunecli.report.figures.sight import Sight, sights
from prunecli.report.findings import findings
from prunecli.report.protocol import shared
from prunecli.report.reference import Reference
from prunecli.report.rows import Row
from prunecli.report.tables.kinds import FULL, pivots, table_of
from prunecli.report.view import views
from prunecli.settings.report import CAPTIONS, LOSSES

TEMPLATE = Path(__file__).with_name("page.html")


def as_html(
    rows: list[Row], title: str, reference: Reference = (), losses: Sequence[float] = LOSSES
) -> str:
    """The page, with findings, figures and tables for every model and data set."""
    numbers = count(1)
    sections = [_section(s, losses, numbers) for s in sights(views(rows, reference))]
    figures = [figure for section in sections for *_, figure in section["figures"]]
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        title=printable(title),
        sections=sections,
        colours=[(variable(light), light, dark) for light, dark in DARK.items()],
        keys=range(max((len(figure.entries) for figure in figures), default=0)),
        versions={"prunecli": VERSION} | {
            name: version
            for name, version in (rows[0].first.versions or {}).items()
            if name != "prunecli"
        },
    )  # fmt: skip


def _section(sight: Sight, losses: Sequence[float], numbers: Iterator[int]) -> dict[str, Any]:
    """The template's values for one model and data set."""
    view = sight.view
    figures: list[tuple[str, str, Inline]] = [
        (CAPTIONS[name], caption(name, view), inline(FIGURES[name].draw(sight), next(numbers)))
        for name in there_are(view)
    ]
    return {
        "title": printable(view.title),
        "protocol": printable(shared(view)),
        "findings": findings(view, losses),
        "figures": figures,
        "pivots": [table for name in pivots(view) if (table := table_of(view, name, losses))],
        "full": [table for name in FULL if (table := table_of(view, name, losses))],
    }
