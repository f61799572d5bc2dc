"""`report`: from results to a table, CSV, JSON or a page with figures."""

from __future__ import annotations

from pathlib import Path

from prunecli.errors import BadUsage
from prunecli.files.atomic import write_text
from prunecli.files.claims import check_output, claimed
from prunecli.files.results import read_result
from prunecli.report.reference import read_reference
from prunecli.report.rows import grouped
from prunecli.report.tables import as_csv, as_json, as_text
from prunecli.settings.report import LOSSES, TITLE, ReportSettings
from prunecli.settings.run import RunOptions


def report(
    results: list[Path], settings: ReportSettings, run: RunOptions
) -> tuple[Path | None, str]:
    """Gather results and write them. Returns the path, if one was written, and the table.

    Without an output, everything but a page is returned as text instead of the table.
    """
    form, reference = settings.form, settings.reference
    if not results:
        raise BadUsage("there are no results to report; give files that 'prunecli eval' wrote")
    if reference and form != "html":
        raise BadUsage("--reference needs --format html")
    if settings.loss is not None and form not in ("html", "json"):
        raise BadUsage("--loss needs --format html or json")
    rows = grouped(map(read_result, results))
    output = run.output
    if form == "html":
        from prunecli.report.page import as_html

        output = output or results[0].with_name("report.html")
        published = read_reference(reference) if reference else ()
        losses = LOSSES if settings.loss is None else (settings.loss,)
        text = as_html(rows, settings.title or TITLE, published, losses)
    elif form == "svg":
        from prunecli.report.page import as_svg

        text = as_svg(rows, settings.figure)
    elif form == "json":
        text = as_json(rows, settings.loss)
    else:
        text = {"table": as_text, "csv": as_csv}[form](rows)
    if output is None:
        return None, text
    inputs = [*results, *([reference] if reference else [])]
    check_output(output, inputs, force=run.force)
    if not run.dry_run:
        with claimed(output, inputs, force=run.force, wait=run.wait) as target:
            write_text(target, text)
    return output, as_text(rows)
