"""What `gpu.py` measured, in Markdown for docs/speed.md."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]
MARKS = {"vgg16": 100_000, "resnet20": 80_000, "resnet56": 40_000, "wrn": 25_000}
"""Images a second of training in bfloat16 that an H100 was to reach."""
NAMES = {
    "wrn": "`wrn` 16-8",
    "resnet50": "the 25.5 M of a ResNet-50",
    "1 B": "1 billion, in 20 tensors",
}
PLACE = re.compile(r"(<!-- gpu table -->\n).*?(<!-- end -->)", re.DOTALL)


def table(results: Mapping[str, Any]) -> str:
    """All that was measured, and what was not, with why."""
    rows: list[Row] = results["rows"]
    done = [row for row in rows if has_figures(row)]
    parts = [_measured_on(results)]
    for part, write in PARTS.items():
        if own := [row for row in done if row["part"] == part]:
            parts.append(write(own))
    if marks := _marks(done, results["about"].get("gpu") or ""):
        parts.insert(2, marks)
    parts += [_told(done)] if _told(done) else []
    parts += [_left_out(rows)] if len(done) < len(rows) else []
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


def _training(rows: list[Row]) -> str:
    modes = ("eager", "graph", "compile")
    cells = []
    groups = dict.fromkeys((row["network"], row["batch"], row["precision"]) for row in rows)
    for network, batch, precision in sorted(groups, key=lambda g: (_first(rows, g[0]), g[1:])):
        same = {
            row["mode"]: row
            for row in rows
            if (row["network"], row["batch"], row["precision"]) == (network, batch, precision)
        }
        rates = [_rate(same[mode]) if mode in same else "" for mode in modes]
        gain = ""
        if same.keys() >= {"eager", "graph"}:
            gain = f"{_speed(same['graph']) / _speed(same['eager']):.2f}"
        memory = [row["memory"] for row in same.values() if row["memory"] is not None]
        most = f"{max(memory) / 2**30:.1f}" if memory else ""
        cells.append([_name(network), batch, precision, *rates, gain, most])
    head = ["training", "batch", "precision", "images/s eager", "with CUDA graphs",
            "and compiled", "graphs/eager", "most GiB"]  # fmt: skip
    return _drawn(head, cells, left=3)


def _pruners(rows: list[Row]) -> str:
    cells = [
        [
            _name(row["network"]),
            f"`{row['pruner']}`" if row["pruner"] != "masked" else "a mask of 10%",
            f"{row['dense_ms']:.3g}",
            f"{row['ms']:.3g}",
            f"{row['percent_more']:+.1f}% ({row['spread']:.1f})",
        ]
        for row in rows
    ]
    batch, precision = rows[0]["batch"], rows[0]["precision"]
    head = [f"step of {batch} images, {precision}", "pruner", "dense, ms", "with it, ms", "more"]
    return _drawn(head, cells, left=2)


def _scores(rows: list[Row]) -> str:
    cells = [
        [_name(row["network"]), f"`{row['method']}`", row["rounds"]]
        + [f"{row[key]:.3g}" for key in ("seconds", "scoring_once")]
        for row in rows
    ]
    head = ["mask of", "method", "rounds", "seconds from file to file", "of scoring once"]
    return _drawn(head, cells, left=2)


def _masks(rows: list[Row]) -> str:
    cells = [
        [
            NAMES.get(row["scores"], f"{row['total']:,}"),
            "prunecli" if row["who"] == "prunecli" else "`prune.global_unstructured`",
            "CPU" if row["where"] == "cpu" else "GPU",
            f"{row['seconds']:.3g}",
        ]
        for row in rows
    ]
    return _drawn(["global mask of scores", "by", "that are on the", "seconds"], cells, left=3)


def _several(rows: list[Row]) -> str:
    sizes = list(rows[0]["images_per_second"])
    cells = [
        [_name(row["network"])]
        + [f"{row['images_per_second'][size]:,.0f}" for size in sizes]
        + [f"{row['spread']:.1f}"]
        for row in rows
    ]
    head = [f"trainings at once on one device, batch {rows[0]['batch']}",
            *(f"images/s of {size} in all" for size in sizes), "spread, %"]  # fmt: skip
    return _drawn(head, cells)


def _evaluation(rows: list[Row]) -> str:
    cells = [[_name(row["network"]), row["precision"], _rate(row)] for row in rows]
    head = [f"evaluation of {rows[0]['images']:,} images", "precision", "images/s"]
    return _drawn(head, cells, left=2)


PARTS: dict[str, Callable[[list[Row]], str]] = {
    "training": _training,
    "pruners": _pruners,
    "scores": _scores,
    "masks": _masks,
    "several": _several,
    "evaluation": _evaluation,
}


def _marks(done: Iterable[Row], gpu: str) -> str:
    """Whether the speeds were reached that were aimed at, where that is the GPU."""
    said = []
    for network, mark in MARKS.items():
        own = [r for r in done if r.get("mode") and r["network"] == network]
        rates = [_speed(row) for row in own if row["precision"] == "bf16"]
        if rates and "H100" in gpu:
            verdict = "reached" if max(rates) >= mark else "missed"
            said.append(f"{_name(network)} {max(rates):,.0f} of {mark:,} ({verdict})")
    return f"Images a second that were aimed at in bf16: {', '.join(said)}." if said else ""


def _told(done: Iterable[Row]) -> str:
    """Where graphs were asked for and there were none, so that the steps were eager ones."""
    told = [(n, row["label"]) for row in done for n in row.get("notes", []) if "not replayed" in n]
    return f"Eager although graphs were asked for:\n\n{_gathered(told)}" if told else ""


def _left_out(rows: Iterable[Row]) -> str:
    """Rows without figures."""
    why = [
        (f"{verdict}: {row[verdict]}", row["label"])
        for row in rows
        for verdict in ("failed", "skipped")
        if verdict in row
    ]
    return f"Without figures:\n\n{_gathered(why)}"


def _gathered(told: Iterable[tuple[str, str]]) -> str:
    """A list of reasons, each with all rows that it is the reason of."""
    rows: dict[str, list[str]] = {}
    for reason, label in told:
        rows.setdefault(reason, []).append(label)
    return "\n".join(f"- {'; '.join(labels)}: {reason}" for reason, labels in rows.items())


def _first(rows: list[Row], network: str) -> int:
    return [row["network"] for row in rows].index(network)


def _name(network: str) -> str:
    return NAMES.get(network, f"`{network}`")


def _speed(row: Row) -> float:
    return float(row["images_per_second"])


def _rate(row: Row) -> str:
    return f"{_speed(row):,.0f} ({row['spread']:.1f})"


def _drawn(head: list[str], cells: list[list[Any]], left: int = 1) -> str:
    """A table of which so many columns are words."""
    rule = ["---" if place < left else "---:" for place in range(len(head))]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in [head, rule, *cells])
