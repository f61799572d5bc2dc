from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from prunecli.cli.base import FILE, Command, common, common_options, done, examples
from prunecli.cli.streams import print_text
from prunecli.report.captions import CAPTIONS

EXAMPLES = """
prunecli report *.eval.json
prunecli report *.eval.json --format csv > results.csv
prunecli report *.eval.json --format svg --figure top5 -o top5.svg
prunecli report *.eval.json --format html --reference paper.csv -o report.html
"""


ENDINGS = {"table": "txt", "csv": "csv", "json": "json", "html": "html", "svg": "svg"}


def page_name(params: Mapping[str, Any]) -> str:
    return f"report.{ENDINGS[params['format']]}"


@click.command("report", cls=Command, product=page_name, epilog=examples(EXAMPLES))
@click.argument("results", type=FILE, nargs=-1, required=True)
@click.option(
    "--format",
    type=click.Choice(list(ENDINGS)),
    default="table",
    show_default=True,
    help="html has figures, svg is one of them.",
)
@click.option(
    "--figure",
    type=click.Choice(tuple(CAPTIONS)),
    default="top1",
    show_default=True,
    metavar="NAME",  # all of them in one word would not fit into the line
    help=f"Which one, of --format svg: {', '.join(CAPTIONS)}.",
)
@click.option("--title", help="Of the page.")
@click.option(
    "--reference",
    type=FILE,
    help="CSV of published results, to set beside these: model, dataset, method, compression, top1 "
    "and top5.",
)
@common_options
def report(results: tuple[Path, ...], **params: Any) -> None:  # fmt: skip
    """Gather RESULTS of 'prunecli eval' into one table, averaged over seeds.

    Without -o, all but html goes to stdout.
    """
    from prunecli.steps.report import report as step

    own = common(params)
    output, table = step(
        list(results),
        params["format"],
        params["title"],
        own,
        params["reference"],
        params["figure"],
    )
    if output is None and params["json"]:
        rows = json.loads(table) if params["format"] == "json" else table
        click.echo(json.dumps({"output": None, "dry_run": params["dry_run"], "result": rows}))
        return
    if output is None:
        print_text(table)
        return
    for line in table.splitlines():
        own.progress.say(line)
    done(params, output, "")
