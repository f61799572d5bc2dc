"""The settings of a report, and the figures that there are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from prunecli.settings.kinds import File, OneOf, Plain, Real
from prunecli.settings.run import OUTPUT, RunOptions
from prunecli.settings.table import field_of, option

ENDINGS = {"table": "txt", "csv": "csv", "json": "json", "html": "html", "svg": "svg"}
"""The ending of a file of each format."""
CAPTIONS = {
    "top1": "Top-1 accuracy over compression",
    "top5": "Top-5 accuracy over compression",
    "degradation": "Top-1 lost to pruning, over sparsity",
    "parameters": "Error over the weights left",
    "options": "Top-1 accuracy by option",
    "options-sparsity": "Sparsity by option",
    "error": "Compression error: reached against asked",
    "critical": "Critical compression: the highest that leaves no layer empty",
    "density": "Density of each layer",
    "loss": "Training loss over epochs",
    "top1-epochs": "Test accuracy over epochs",
    "sparsity": "Sparsity over epochs",
    "pruned": "Weights pruned in total, over epochs",
    "weights": "Spread of the weights before the last threshold",
    "distributions": "Spread of each layer's weights",
}
"""The figures, in the order of the page, without what it takes to draw them."""
TITLE = "Pruning report"
LOSSES = (0.5, 1.0, 2.0, 5.0)
"""The points of top-1 lost at which a page compares."""


@dataclass(frozen=True)
class ReportSettings:
    """What to make of results."""

    form: str = option(
        "Output format; html is a page with all figures, svg is one figure.",
        OneOf(tuple(ENDINGS)),
        "table",
        flag="--format",
    )
    figure: str = option(
        f"Figure that --format svg draws: {', '.join(CAPTIONS)}.", OneOf(tuple(CAPTIONS)), "top1",
        metavar="NAME",  # all of them in one word would not fit into the line
    )  # fmt: skip
    title: str | None = option("Title of the html page.", Plain.TEXT, unset=TITLE)
    reference: Path | None = option(
        "CSV of published results to show beside these. Columns: model, dataset, method, "
        "compression, top1, top5; optional: reached (compression), parameters (weights left), "
        "note.",
        File(),
    )
    loss: float | None = option(
        "Top-1 lost, in points: html and json show the compression that each method reaches at "
        "this loss.",
        Real(0, 100),
        unset=f"{', '.join(f'{loss:g}' for loss in LOSSES)} in html, none in json",
    )  # fmt: skip


@dataclass(frozen=True)
class ReportRun(RunOptions):
    """What `report` may be told of its run."""

    output: Path | None = field_of(
        replace(OUTPUT, unset="standard output; for html, report.html beside the first result")
    )
