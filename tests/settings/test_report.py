"""The format that a report is written in."""

from pathlib import Path

import pytest

from prunecli.errors import BadUsage
from prunecli.settings.report import ENDINGS, ReportSettings


@pytest.mark.parametrize(
    ("settings", "output", "form"),
    [
        ({}, None, "table"), ({}, "out", "table"), ({}, "a.b/out", "table"),
        ({}, "out.txt", "table"), ({}, "out.md", "markdown"),
        ({}, "out.tex", "latex"), ({}, "out.HTML", "html"), ({}, "a.html/out.csv", "csv"),
        ({}, "out.json", "json"), ({}, "out.svg", "svg"), ({}, "out.pdf", "pdf"),
        ({"form": "csv"}, "out.html", "csv"), ({"form": "html"}, None, "html"),
        ({"figure": "top1"}, None, "svg"), ({"figure": "top1"}, "x.pdf", "pdf"),
        ({"figure": "all"}, "figures", "svg"), ({"figure": "all", "form": "pdf"}, "x", "pdf"),
        ({"figure": "all"}, "x.d", "svg"), ({"figure": "top1"}, "x", "svg"),
        ({"form": "csv"}, "x.dat", "csv"), ({"figure": "top1", "form": "pdf"}, "x.svg", "pdf"),
        ({"table": "top1"}, "x.tex", "latex"),
    ],
)  # fmt: skip
def test_the_format_is_the_one_asked_for_or_that_of_the_figure_or_the_ending(
    settings, output, form
):
    assert ReportSettings(**settings).form_for(output and Path(output)) == form


@pytest.mark.parametrize(
    ("settings", "output", "endings"),
    [
        ({}, "a.xyz", ".txt, .csv, .json, .md, .tex, .html, .svg, .pdf"),
        ({"table": "top1"}, "a.gz", ".txt, .csv, .json, .md, .tex, .html, .svg, .pdf"),
        ({"figure": "top1"}, "x.html", ".svg, .pdf"), ({"figure": "top1"}, "x.png", ".svg, .pdf"),
    ],
)  # fmt: skip
def test_an_ending_of_no_format_is_refused_with_those_that_there_are(settings, output, endings):
    with pytest.raises(BadUsage, match=f"'{output}'; end it in {endings}, or add --format"):
        ReportSettings(**settings).form_for(Path(output))


def test_each_format_has_an_ending_of_its_own():
    assert len(set(ENDINGS.values())) == len(ENDINGS)
    for form, ending in ENDINGS.items():
        assert ReportSettings().form_for(Path(f"x.{ending}")) == form
