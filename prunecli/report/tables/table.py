"""A table, and the forms in which it is written."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from types import SimpleNamespace

ACTIVE = re.compile(r"'*[-=+@#\t\r\n\uff1d\uff0b\uff0d\uff20]")
"""The beginnings of cells that spreadsheets, or readers of tables, may take for something to do."""
LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "±": r"$\pm$", "†": r"$\dagger$", "‡": r"$\ddagger$", "°": r"$^\circ$",
    "≥": r"$\geq$", "≤": r"$\leq$",
    "§": r"\S{}", "¶": r"\P{}", "<": r"\textless{}", ">": r"\textgreater{}", "…": r"\ldots{}",
    "|": r"\textbar{}", "*": "{*}", "[": "{[}", "]": "{]}",
}  # fmt: skip
"""In braces is what the end of the line before would take for its own argument."""

PARTS = ("", " std", " published", " marks")
"""What the columns of CSV add to a heading."""


@dataclass(frozen=True)
class Cell:
    """What a person reads, and the number behind it, where there is one."""

    text: str
    value: float | None = None
    best: bool = False
    faint: bool = False
    std: float | None = None
    published: float | None = None
    marks: str = ""

    @property
    def parts(self) -> dict[str, str | float]:
        """What programs read of it, by `PARTS`; only what there is."""
        value = self.text if self.value is None else self.value
        parts = (value, self.std, self.published, self.marks or None)
        return {name: x for name, x in zip(PARTS, parts, strict=True) if x is not None}


@dataclass(frozen=True)
class Table:
    """Lines of cells under headings; the first `words` columns hold words."""

    title: str
    headings: list[str]
    lines: list[list[Cell]]
    notes: list[str]
    words: int = 1


def plain(lines: Iterable[Sequence[str]]) -> list[list[Cell]]:
    """Lines of text alone."""
    return [[Cell(text) for text in line] for line in lines]


def as_text(table: Table) -> str:
    """The lines aligned: words to the left, numbers to the right."""
    lines = [table.headings, *([cell.text for cell in line] for line in table.lines)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(
        "  ".join(
            cell.ljust(width) if number < table.words else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        + "\n"
        for line in lines
    )


def as_section(table: Table) -> str:
    """The same under its title, and with its notes."""
    notes = "".join(f"{note}\n" for note in table.notes)
    return f"{table.title}\n{as_text(table)}{notes}"


def as_markdown(table: Table) -> str:
    """A table for GitHub's Markdown; the best in bold."""
    rule = ["---" if n < table.words else "---:" for n in range(len(table.headings))]
    lines = [[_markdown(heading) for heading in table.headings], rule]
    for line in table.lines:
        cells = [(cell, _markdown(cell.text)) for cell in line]
        lines.append([f"**{text}**" if cell.best else text for cell, text in cells])
    body = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    notes = "".join(f"\n{_markdown(note)}\n" for note in table.notes)
    return f"**{_markdown(table.title)}**\n\n{body}{notes}"


def _markdown(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|#~$&])", r"\\\1", text)


def as_latex(table: Table) -> str:
    """A table for the package booktabs; the best in bold."""
    lines = [" & ".join(map(_latex, table.headings))]
    for line in table.lines:
        cells = [(cell, _latex(cell.text)) for cell in line]
        lines.append(" & ".join(rf"\textbf{{{t}}}" if cell.best else t for cell, t in cells))
    columns = "l" * table.words + "r" * (len(table.headings) - table.words)
    head, *body = [rf"{line} \\" for line in lines]
    notes = [rf"\par\smallskip\footnotesize {_latex(note)}" for note in table.notes]
    return "\n".join([
        r"\begin{table}", r"\centering", rf"\caption{{{_latex(table.title)}}}",
        rf"\begin{{tabular}}{{{columns}}}", r"\toprule", head, r"\midrule", *body, r"\bottomrule",
        r"\end{tabular}", *notes, r"\end{table}", "",
    ])  # fmt: skip


def _latex(text: str) -> str:
    return "".join(LATEX.get(letter, letter) for letter in text)


def cell_of(text: str) -> str:
    """Text as a cell that no spreadsheet takes for a formula, and nobody for a comment."""
    return f"'{text}" if ACTIVE.match(text) else text


def text_of(cell: str) -> str:
    """What `cell_of` made a cell of."""
    return cell[1:] if cell.startswith("'") and ACTIVE.match(cell) else cell


def sections_as_csv(sections: Sequence[tuple[tuple[str, str], Table]]) -> str:
    """The tables of several networks and data sets, one below the other, with numbers in full.

    A column holds what all of them have under its heading. Deviations, published values and marks
    have columns of their own behind it, where there are any.
    """
    lines = [
        (section, dict(zip(_counted(table.headings), line, strict=True)))
        for section, table in sections
        for line in table.lines
    ]
    headings = dict.fromkeys(chain(*(line for _, line in lines)))
    columns = [
        (heading, part)
        for heading in headings
        for part in PARTS
        if any(part in line[heading].parts for _, line in lines if heading in line)
    ]
    named = [f"{heading}{part}" for (heading, _), part in columns]
    values = [
        [*section, *(line.get(heading, Cell("")).parts.get(part, "") for heading, part in columns)]
        for section, line in lines
    ]
    return as_csv(["model", "dataset", *named], values)


def _counted(headings: Sequence[str]) -> list[tuple[str, int]]:
    """The headings, each with how many of the same were before it."""
    return [(heading, headings[:place].count(heading)) for place, heading in enumerate(headings)]


def as_csv(headings: Sequence[str], lines: Iterable[Sequence[str | float | None]]) -> str:
    """A table for other programs. None is an empty cell."""
    written: list[str] = []
    sink = SimpleNamespace(write=written.append)
    writer = csv.writer(sink, lineterminator="\r\n")  # and so both are quoted
    writer.writerow(headings)
    for line in lines:
        writer.writerow([cell_of(cell) if isinstance(cell, str) else cell for cell in line])
    return "".join(line.removesuffix("\r\n") + "\n" for line in written)
