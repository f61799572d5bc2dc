"""The settings of a report, and the figures that there are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from prunecli.errors import BadUsage, printable
from prunecli.settings.kinds import File, OneOf, Plain, Real
from prunecli.settings.run import OUTPUT, RunOptions
from prunecli.settings.table import field_of, option

ENDINGS = {
    "table": "txt", "csv": "csv", "json": "json", "markdown": "md", "latex": "tex",
    "html": "html", "svg": "svg", "pdf": "pdf",
}  # fmt: skip
"""The ending of a file of each format."""
FIGURES = ("svg", "pdf")
"""The formats of figures."""
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
ALL = "all"
"""Every figure, each in a file of its own."""
TABLES = {
    "rows": "all that is known of each method at each compression",
    "top1": "top-1 by method and compression",
    "top5": "top-5 by method and compression",
    "reached": "the compression reached, by method and the one asked for",
    "flops": "FLOPs left, by method and compression",
    "equal-loss": "compression at equal loss of top-1",
    "published": "beside published results",
}
"""The tables."""
TITLE = "Pruning report"
LOSSES = (0.5, 1.0, 2.0, 5.0)
"""The points of top-1 lost at which a page compares."""


@dataclass(frozen=True)
class ReportSettings:
    """What to make of results."""

    form: str | None = option(
        "Output format. html is a page with all figures and tables; svg and pdf are figures; the "
        "others are tables.",
        OneOf(tuple(ENDINGS)), flag="--format",
        unset="svg with --figure, else by the ending of -o, else table",
    )  # fmt: skip
    figure: str | None = option(
        f"Figure to draw: {', '.join(CAPTIONS)}; or {ALL}, into the folder that -o names.",
        OneOf((*CAPTIONS, ALL)), metavar="NAME", unset="top1",
    )  # fmt: skip
    table: str | None = option(
        f"Table to write: {', '.join(TABLES)}.", OneOf(tuple(TABLES)), metavar="NAME",
        unset="rows; for markdown and latex, top1",
    )  # fmt: skip
    title: str | None = option("Title of the html page.", Plain.TEXT, unset=TITLE)
    reference: Path | None = option(
        "CSV of published results to show beside these. Columns: model, dataset, method, "
        "compression, top1, top5; optional: reached (compression), parameters (weights left), "
        "note.",
        File(),
    )
    loss: float | None = option(
        "Top-1 lost, in points: json and the table equal-loss show the compression that each "
        "method reaches at this loss.",
        Real(0, 100),
        unset=f"{', '.join(f'{loss:g}' for loss in LOSSES)} in the table, none in json",
    )  # fmt: skip

    def form_for(self, output: Path | None) -> str:
        """The format to write, into that output. Raises BadUsage for an ending of no format."""
        if self.form is not None:
            return self.form
        if output is None or not output.suffix or self.figure == ALL:
            return "table" if self.figure is None else "svg"
        forms = {f".{own}": form for form, own in ENDINGS.items()}
        form = forms.get(output.suffix.lower())
        if form is None or (self.figure and form not in FIGURES):
            kind, known = ("figures", FIGURES) if self.figure else ("reports", (*ENDINGS,))
            raise BadUsage(
                f"no format of {kind} has the ending of {printable(output.name)!r}; end it in "
                f"{', '.join(f'.{ENDINGS[each]}' for each in known)}, or add --format"
            )
        return form


@dataclass(frozen=True)
class ReportRun(RunOptions):
    """What `report` may be told of its run."""

    output: Path | None = field_of(
        replace(OUTPUT, unset="standard output; for html, report.html beside the first result")
    )
