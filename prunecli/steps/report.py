"""`report`: from results to a table, CSV, JSON or a page with figures."""

from __future__ import annotations

from pathlib import Path

from prunecli.errors import BadUsage
from prunecli.files.atomic import write_text
from prunecli.files.claims import check_output, claimed
from prunecli.files.results import read_result
from prunecli.report.reference import read_reference
from prunecli.report.rows import as_csv, as_json, as_text, grouped
from prunecli.settings.common import Common


def report(
    results: list[Path],
    form: str,
    title: str | None,
    common: Common,
    reference: Path | None = None,
    figure: str = "top1",
) -> tuple[Path | None, str]:
    """Gather results and write them as `form`. Gives the path, if one was written, and the table.

    A `reference` is a CSV of published results that a page sets beside these, and `figure` the one
    that an SVG is of. Without an output, everything but a page is returned as text instead of the
    table.
    """
    if not results:
        raise BadUsage("there are no results to report; give what 'prunecli eval' wrote")
    if reference and form != "html":
        raise BadUsage("--reference needs --format html")
    rows = grouped(map(read_result, results))
    output = common.output
    if form == "html":
        from prunecli.report.page import as_html

        output = output or results[0].with_name("report.html")
        published = read_reference(reference) if reference else None
        text = as_html(rows, title or "Pruning report", published)
    elif form == "svg":
        from prunecli.report.page import as_svg

        text = as_svg(rows, figure)
    else:
        text = {"table": as_text, "csv": as_csv, "json": as_json}[form](rows)
    if output is None:
        return None, text
    inputs = [*results, *([reference] if reference else [])]
    check_output(output, inputs, force=common.force)
    if not common.dry_run:
        with claimed(output, inputs, force=common.force, wait=common.wait) as target:
            write_text(target, text)
    return output, as_text(rows)
