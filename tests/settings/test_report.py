"""The format that a report is written in."""

from pathlib import Path

import pytest

from prunecli.settings.report import ENDINGS, ReportSettings


@pytest.mark.parametrize(
    ("settings", "output", "form"),
    [
        ({}, None, "table"), ({}, "out", "table"), ({}, "a.b/out", "table"),
        ({}, "out.dat", "table"), ({}, "out.txt", "table"), ({}, "out.md", "markdown"),
        ({}, "out.tex", "latex"), ({}, "out.HTML", "html"), ({}, "a.html/out.csv", "csv"),
        ({}, "out.json", "json"), ({}, "out.svg", "svg"), ({}, "out.pdf", "pdf"),
        ({"form": "csv"}, "out.html", "csv"), ({"form": "html"}, None, "html"),
        ({"figure": "top1"}, None, "svg"), ({"figure": "top1"}, "x.pdf", "pdf"),
        ({"figure": "all"}, "figures", "svg"), ({"figure": "all", "form": "pdf"}, "x", "pdf"),
        ({"figure": "top1", "form": "pdf"}, "x.svg", "pdf"), ({"table": "top1"}, "x.tex", "latex"),
    ],
)  # fmt: skip
def test_the_format_is_the_one_asked_for_or_that_of_the_figure_or_the_ending(
    settings, output, form
):
    assert ReportSettings(**settings).form_for(output and Path(output)) == form


def test_each_format_has_an_ending_of_its_own():
    assert len(set(ENDINGS.values())) == len(ENDINGS)
    for form, ending in ENDINGS.items():
        assert ReportSettings().form_for(Path(f"x.{ending}")) == form
