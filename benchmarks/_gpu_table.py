"""What `gpu.py` measured, in Markdown for docs/speed.md."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]
NAMES = {
    "wrn": "`wrn` 16-8",
    "masked": "a mask of 10%",
    "resnet50": "the 25.5 M of a ResNet-50",
    "1 B": "1 billion, in 20 tensors",
    "torch": "`prune.global_unstructured`",
    "prunecli": "prunecli",
}
"""The others name themselves."""
MODES = {"eager": "images/s eager", "graph": "with CUDA graphs", "compile": "and compiled"}
COLUMNS = {
    "training": {
        "training": "{network}",
        "batch": "{batch}",
        "precision": "{precision}",
        **{head: f"{{{mode}}}" for mode, head in MODES.items()},
        "graphs/eager": "{gain}",
        "most GiB": "{most}",
    },
    "pruners": {
        "step of": "{network}, {batch} images, {precision}",
        "pruner": "{pruner}",
        "dense, ms": "{dense_ms:.3g}",
        "with it, ms": "{ms:.3g}",
        "more": "{percent_more:+.1f}% ({spread:.1f})",
    },
    "scores": {
        "mask of": "{network}",
        "method": "{method}",
        "rounds": "{rounds}",
        "seconds from file to file": "{seconds:.3g}",
        "of scoring once": "{scoring_once:.3g}",
    },
    "masks": {
        "global mask of scores": "{scores}",
        "by": "{who}",
        "that are on the": "{where}",
        "seconds": "{seconds:.3g}",
    },
    "several": {
        "trainings at once on one device": "{network}, batch {batch}",
        "how many: images/s in all": "{together}",
        "spread, %": "{spread:.1f}",
    },
    "evaluation": {
        "evaluation of": "{images:,} images by {network}",
        "precision": "{precision}",
        "images/s": "{images_per_second:,.0f} ({spread:.1f})",
    },
}
"""The tables, in order: by part, what a column is called and has of a row."""
PLACE = re.compile(r"(<!-- gpu table -->\n).*?(<!-- end -->)", re.DOTALL)


def table(results: Mapping[str, Any]) -> str:
    """All that was measured, and what was not, with why."""
    rows: list[Row] = results["rows"]
    done = [row for row in rows if has_figures(row)]
    parts = [_measured_on(results)]
    for part, columns in COLUMNS.items():
        if own := [row for row in done if row["part"] == part]:
            parts.append(_drawn(columns, _by_mode(own) if part == "training" else own))
    parts += _listed("Eager although graphs were asked for", _eager(done))
    parts += _listed("Without figures", _left_out(rows))
    return "\n\n".join(parts) + "\n"


def has_figures(row: Row) -> bool:
    return "failed" not in row and "skipped" not in row


def into(path: Path, text: str) -> None:
    """Put it between the marks in a document. Raises ValueError if that has none."""
    before = path.read_text()
    after, found = PLACE.subn(lambda marks: f"{marks[1]}{text}{marks[2]}", before)
    if found != 1:
        raise ValueError(f"{path}: there is no place for the table")
    path.write_text(after)


def _measured_on(results: Mapping[str, Any]) -> str:
    about = results["about"]
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    card = f"one {about['gpu']} ({about['driver']}), " if about.get("gpu") else ""
    return (
        f"Measured {about['date']} by `{about['command']}` in {about['seconds']:.0f} s on {card}"
        f"{about['cores']} cores of {about['processor']}, {versions}. Figures are "
        "medians; in parentheses is how far the measurements are apart, in percent of it."
    )


def _by_mode(rows: list[Row]) -> list[Row]:
    """One row of several that differ in the mode alone; networks in the order that they came in."""
    order = [row["network"] for row in rows]
    found: dict[tuple[Any, ...], dict[str, Row]] = {}
    for row in rows:
        key = (order.index(row["network"]), row["batch"], row["precision"])
        found.setdefault(key, {})[row["mode"]] = row
    return [_joined(found[key]) for key in sorted(found)]


def _joined(modes: Mapping[str, Row]) -> Row:
    rates = {mode: row["images_per_second"] for mode, row in modes.items()}
    told = {mode: f"{rate:,.0f} ({modes[mode]['spread']:.1f})" for mode, rate in rates.items()}
    memory = [row["memory"] for row in modes.values() if row["memory"] is not None]
    return {
        **next(iter(modes.values())),
        **dict.fromkeys(MODES, ""),
        **told,
        "gain": f"{rates['graph'] / rates['eager']:.2f}"
        if {"graph", "eager"} <= rates.keys()
        else "",
        "most": f"{max(memory) / 2**30:.1f}" if memory else "",
    }


def _drawn(columns: Mapping[str, str], rows: Iterable[Row]) -> str:
    cells = [[form.format(**_facts(row)) for form in columns.values()] for row in rows]
    rule = ["---:" if "." in form else "---" for form in columns.values()]
    return "\n".join(f"| {' | '.join(line)} |" for line in [columns, rule, *cells])


def _facts(row: Row) -> Row:
    """The row, with what it is about in words."""
    words = row.keys() & {"network", "pruner", "method", "scores", "who"}
    named = {word: NAMES.get(row[word], f"`{row[word]}`") for word in words}
    if row["part"] == "several":
        rates = row["images_per_second"]
        named["together"] = "; ".join(f"{count}: {rate:,.0f}" for count, rate in rates.items())
    return {**row, **named}


def _eager(done: Iterable[Row]) -> Iterator[tuple[str, Row]]:
    """Where there were no graphs, and why."""
    for row in done:
        yield from ((note, row) for note in row.get("notes", []) if "not replayed" in note)


def _left_out(rows: Iterable[Row]) -> Iterator[tuple[str, Row]]:
    for row in rows:
        for verdict in row.keys() & {"failed", "skipped"}:
            yield f"{verdict}: {row[verdict]}", row


def _listed(head: str, told: Iterable[tuple[str, Row]]) -> list[str]:
    """Reasons, each with all rows that it is the reason of; nothing if there are none."""
    rows: dict[str, list[str]] = {}
    for reason, row in told:
        rows.setdefault(reason, []).append(row["label"])
    lines = [f"- {'; '.join(labels)}: {reason}" for reason, labels in rows.items()]
    return [f"{head}:\n\n" + "\n".join(lines)] if lines else []
