"""`report`: from results to tables, figures, or a page of both."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain, count
from pathlib import Path

from prunecli.errors import BadUsage, printable, some
from prunecli.files.atomic import write_bytes
from prunecli.files.claims import check_output, claimed
from prunecli.files.results import read_result
from prunecli.report.findings import findings
from prunecli.report.reference import read_reference
from prunecli.report.rows import grouped
from prunecli.report.tables.full import as_csv, as_json, full
from prunecli.report.tables.kinds import FORMS, table_of
from prunecli.report.tables.table import as_text, sections_as_csv
from prunecli.report.view import View, views
from prunecli.settings.report import ALL, FIGURES, LOSSES, TITLE, ReportSettings
from prunecli.settings.run import RunOptions

LONGEST = 100
"""Characters of the name of a folder."""


def report(
    results: list[Path], settings: ReportSettings, run: RunOptions
) -> tuple[Path | None, str]:
    """Gather results and write them. Returns the path, if one was written, and a text.

    The text is what there is no output for, or of a page the rows and findings. All figures
    together need a folder as the output.
    """
    form = settings.form_for(run.output)
    _check(settings, form, results, run.output)
    rows = grouped(map(read_result, results))
    published = read_reference(settings.reference) if settings.reference else ()
    sections = views(rows, published)
    output, losses = run.output, LOSSES if settings.loss is None else (settings.loss,)
    if form == "html":
        from prunecli.report.page import as_html

        output = output or results[0].with_name("report.html")
        made = {output: as_html(rows, settings.title or TITLE, published, losses).encode()}
    elif form in FIGURES:
        made = _figures(sections, settings.figure or "top1", form, output)
    else:
        text = _text(sections, settings, form, losses)
        made = {output: text.encode()} if output else {}
    summary = _summary(sections, losses) if form == "html" else ""
    if output is None:
        return None, text if form not in FIGURES else next(iter(made.values())).decode()
    inputs = [*results, *([settings.reference] if settings.reference else [])]
    for path in made:
        check_output(path, inputs, force=run.force)
    for path, content in made.items() if not run.dry_run else ():
        with claimed(path, inputs, force=run.force, wait=run.wait) as target:
            write_bytes(target, [content])
    return output, summary


def _check(settings: ReportSettings, form: str, results: list[Path], output: Path | None) -> None:
    """Raise BadUsage for what does not go together."""
    if not results:
        raise BadUsage("there are no results to report; give what 'prunecli eval' wrote")
    if settings.figure and form not in FIGURES:
        raise BadUsage("--figure needs --format svg or pdf")
    if settings.table and form in ("html", "json", *FIGURES):
        raise BadUsage("--table needs --format table, csv, markdown or latex")
    if settings.reference and form == "json":
        raise BadUsage("--reference needs another format than json")
    if settings.figure == ALL and (output is None or output.suffix[1:].lower() in FIGURES):
        raise BadUsage(f"--figure {ALL} needs -o FOLDER")
    if output is None and form == "pdf":
        raise BadUsage("--format pdf needs -o")


def _text(
    sections: Sequence[View], settings: ReportSettings, form: str, losses: Sequence[float]
) -> str:
    """The table that is asked for, of each section."""
    rows = [row for view in sections for row in view.everything]
    name = settings.table or ("top1" if form in ("markdown", "latex") else "rows")
    if form == "json":
        return as_json(rows, settings.loss)
    if name == "rows" and form == "csv":
        return as_csv(rows)
    if name == "rows" and form == "table":
        return as_text(full(rows)) + _told(sections, losses)
    made = [(view, table_of(view, name, losses)) for view in sections]
    tables = [(view.everything[0].section, table) for view, table in made if table]
    if not tables:
        raise BadUsage(f"these results have nothing to show in the table {name!r}")
    if form == "csv":
        return sections_as_csv(tables)
    return "\n".join(FORMS[form](table) for _, table in tables)


def _summary(sections: Sequence[View], losses: Sequence[float]) -> str:
    """The accuracies and findings of each section, for whom the page is still to be opened."""
    tables = [table for view in sections if (table := table_of(view, "top1", losses))]
    return "\n".join(map(FORMS["table"], tables)) + _told(sections, losses)


def _told(sections: Sequence[View], losses: Sequence[float]) -> str:
    """The findings of each section, as lines."""
    found = [(view.title, findings(view, losses)) for view in sections]
    return "".join(
        f"\n{printable(title)}\n" + "".join(f"- {sentence}\n" for sentence in own)
        for title, own in found
        if own
    )


def _figures(
    sections: Sequence[View], name: str, form: str, output: Path | None
) -> dict[Path, bytes]:
    """The files of one figure, or of all in a folder."""
    from prunecli.report.figures.kinds import drawn, there_are
    from prunecli.report.figures.sight import Sight, sights

    def content(sight: Sight, figure: str) -> bytes:
        drawing = drawn(sight, figure)
        return drawing.pdf() if form == "pdf" else drawing.svg().encode()

    seen = sights(sections)
    if name != ALL:
        if len(seen) > 1:
            kinds = some(sorted(view.title for view in sections))
            raise BadUsage(f"a figure is of one model and data set, not of {kinds}")
        return {output or Path(name): content(seen[0], name)}
    assert output is not None, "it is checked"
    made = {
        output / folder / f"{each}.{form}": content(sight, each)
        for folder, sight in zip(_folders(sections), seen, strict=True)
        for each in there_are(sight.view)
    }
    if not made:
        raise BadUsage("these results have nothing to show in any figure")
    return made


def _folders(sections: Sequence[View]) -> list[str]:
    """A folder for each section's figures, if there are several; no two are the same."""
    if len(sections) == 1:
        return [""]
    found: list[str] = []
    for view in sections:
        plain = re.sub(r"[^A-Za-z0-9.=_-]+", "-", "-".join(view.everything[0].section))
        name = plain[:LONGEST].strip("-.") or "network"
        names = chain([name], (f"{name}-{number}" for number in count(2)))
        taken = {other.lower() for other in found}
        found.append(next(own for own in names if own.lower() not in taken))
    return found
