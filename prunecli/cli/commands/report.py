from __future__ import annotations

import json
from pathlib import Path

import click

from prunecli.cli.answers import Reported, reported
from prunecli.cli.base import FILE, command, done, told
from prunecli.cli.streams import print_text
from prunecli.settings.report import ALL, ENDINGS, ReportRun, ReportSettings
from prunecli.settings.run import Talk

EXAMPLES = """
prunecli report *.eval.json
prunecli report *.eval.json --reference paper.csv -o report.html
prunecli report *.eval.json --format latex --table top1 > top1.tex
prunecli report *.eval.json --format csv > results.csv
prunecli report *.eval.json --figure top5 -o top5.svg
prunecli report *.eval.json --figure all -o figures/
"""


@command(
    "report",
    product=lambda settings: (
        "figures" if settings.figure == ALL else f"report.{ENDINGS[settings.form_for(None)]}"
    ),
    folder=lambda params: params["figure"] == ALL,
    examples=EXAMPLES,
)
@click.argument("results", type=FILE, nargs=-1, required=True)
def report(
    results: tuple[Path, ...], settings: ReportSettings, run: ReportRun, talk: Talk
) -> Reported | None:
    """Compare RESULTS of 'prunecli eval', averaged over seeds: in tables, figures or a page.

    Without -o, tables, JSON and a single SVG go to standard output.
    """
    from prunecli.steps.report import report as step

    loud = told(run, talk)
    output, table = step(list(results), settings, loud)
    if output is None and talk.json:
        rows = json.loads(table) if settings.form == "json" else table
        return Reported(dry_run=run.dry_run, result=rows)
    if output is None:
        print_text(table)
        return None
    for line in table.splitlines():
        loud.progress.say(line)
    return done(run, talk, output, reported)
