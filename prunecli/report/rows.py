"""Results as rows: one per method and compression, averaged over seeds."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any, Literal, TypeAlias, get_args

from prunecli.files.results import Epoch, Result, as_table
from prunecli.report.labels import labels, names, network

Number: TypeAlias = Literal[
    "top1", "top5", "loss", "density", "empirical_compression", "compression_error", "nonzero",
    "prunable", "flops_dense", "flops_sparse",
]  # fmt: skip
"""What of a result is averaged over seeds."""
MET = 0.02
"""The difference, over the whole, up to which what was reached is what was asked."""


@dataclass(frozen=True)
class Row:
    """The results of one method at one compression on one model and data set."""

    model: str
    dataset: str
    method: str
    """What it is called: the label given to `eval`, or else the description."""
    compression: float
    results: list[Result]
    description: str
    """The method by its own name, and what sets it apart from others of the name."""

    @property
    def first(self) -> Result:
        """The result that stands for all where they are alike, or where one is enough."""
        return self.results[0]

    @property
    def section(self) -> tuple[str, str]:
        """The network and the data, under which it is compared with others."""
        return self.model, self.dataset

    @property
    def is_dense(self) -> bool:
        return self.first.is_dense

    @property
    def options(self) -> Mapping[str, Any]:
        """Those of the method."""
        return self.first.options or {}

    @property
    def is_free(self) -> bool:
        return self.first.is_free

    @property
    def is_critical(self) -> bool:
        """Whether its masks go as far as no layer is left empty."""
        return bool(self.first.critical)

    @property
    def reached(self) -> float:
        """The compression reached."""
        return self.mean("empirical_compression")

    @property
    def is_met(self) -> bool:
        """Whether it reached what was asked, as near as a whole number of weights comes to it."""
        return not self.is_free and math.isclose(self.reached, self.compression, rel_tol=MET)

    @property
    def at(self) -> str:
        """The compression, for a label: what was reached, and what was asked if that differs."""
        if self.is_free or self.is_met:
            return times(self.compression)
        return f"{times(self.reached)}, asked {times(self.compression)}"

    @property
    def title(self) -> str:
        """The method, and of a pruned network its compression."""
        return self.method if self.is_dense else f"{self.method} {self.at}"

    def without(self, names: Iterable[str]) -> str:
        """Its description without these of the method's options."""
        label = self.description
        for name in names:  # once, for other words of the label may begin like it
            label = label.replace(f" {name}={self.options[name]}", "", 1)
        return label

    @property
    def series(self) -> str:
        """The line that it lies on where the weights left are across: its label, if it was given
        one, or its description without the numbers among its options."""
        if self.method != self.description:
            return self.method
        numbers = [name for name, value in self.options.items() if type(value) in (int, float)]
        return self.without(numbers)

    @property
    def history(self) -> tuple[Epoch, ...]:
        """The log of the first seed's training."""
        return self.first.history or ()

    @property
    def seeds(self) -> int:
        return len(_seeds(self.results))

    @property
    def dead_layers(self) -> int:
        """The most dead layers that any of the results has."""
        return max(len(result.dead_layers) for result in self.results)

    def values(self, number: Number) -> list[float]:
        """The values of a number, one for each result."""
        return [getattr(result, number) for result in self.results]

    def mean(self, number: Number) -> float:
        return fmean(self.values(number))

    def deviation(self, number: Number) -> float | None:
        """Sample standard deviation over the seeds; None for a single one."""
        values = self.values(number)
        return stdev(values) if len(values) > 1 else None

    def spread(self, number: Number) -> float:
        """The deviation; 0 for a single seed."""
        return self.deviation(number) or 0.0

    def percent(self, number: Number) -> str:
        """The mean as a person reads it, with the deviation where there is one."""
        std = self.deviation(number)
        return f"{self.mean(number):.2f}" + ("" if std is None else f" ± {std:.2f}")

    def flat(self) -> dict[str, str | float | None]:
        """The row as plain values, for CSV and JSON."""
        return {
            "model": self.model,
            "dataset": self.dataset,
            "method": self.method,
            "description": self.description,
            "compression": self.compression,
            "seeds": self.seeds,
            **{number: self.mean(number) for number in get_args(Number)},
            "top1_std": self.deviation("top1"),
            "top5_std": self.deviation("top5"),
            "dead_layers": self.dead_layers,
        }


def grouped(results: Iterable[Result]) -> list[Row]:
    """Results that differ in nothing but the seed together, dense first; repeated ones once.

    Where results of one method differ in how they were trained or pruned, that joins the
    description; if all they differ in is the network, its hash does. A method that was asked for no
    density has one row, at the mean compression that it reached.
    """
    different: dict[str, Result] = {}
    for result in results:
        different.setdefault(_told(result), result)
    kept = list(different.values())
    described = labels(kept)
    groups: dict[tuple[str, str, str, str, float | None], list[Result]] = {}
    for result, name, description in zip(kept, names(kept, described), described, strict=True):
        asked = None if result.is_free else float(f"{result.compression:.12g}")  # 1 / (1 - 0.9)
        key = (network(result), result.dataset, name, description, asked)
        groups.setdefault(key, []).append(result)
    rows = [
        Row(
            model,
            data,
            name + mark,
            asked or fmean(r.compression for r in own),
            own,
            description + mark,
        )
        for (model, data, name, description, asked), group in groups.items()
        for mark, own in _repetitions(group)
    ]
    return sorted(rows, key=lambda r: (r.model, r.dataset, not r.is_dense, r.method, r.compression))


def _told(result: Result) -> str:
    """What a result says of the network: how quick it was, and by what, belongs to the machine."""
    everything = as_table(result).items()
    told = {key: value for key, value in everything if key not in ("images_per_second", "versions")}
    return json.dumps(told, sort_keys=True)


def _repetitions(group: list[Result]) -> list[tuple[str, list[Result]]]:
    """The group as it is, if each seed is there once; else every result alone, with its mark.

    Two results of one seed are of two experiments, even where they do not say in what these
    differ. Which of the other results belong to which of the two, they do not say either.
    """
    if len(_seeds(group)) == len(group):
        return [("", group)]
    hashes = ([r.checkpoint_sha256 for r in group], [r.mask_sha256 for r in group])
    for own in hashes:
        marks = [(sha256 or "")[:8] for sha256 in own]
        if all(marks) and len(set(marks)) == len(group):
            return [(f" @{mark}", [result]) for mark, result in zip(marks, group, strict=True)]
    return [(f" #{number}", [result]) for number, result in enumerate(group, 1)]


def _seeds(results: list[Result]) -> set[tuple[int | None, int | None]]:
    """The seeds of the training, and of a mask that has one of its own."""
    return {(result.seed, result.mask_seed) for result in results}


def unpruned(rows: list[Row]) -> list[Row]:
    """The dense rows that pruned ones compare with: not those of narrower networks."""
    dense = [row for row in rows if row.is_dense]
    networks = [row.first.model_options for row in rows if not row.is_dense]
    return [row for row in dense if row.first.model_options in networks] or dense


def measured(rows: list[Row]) -> list[Row]:
    """The rows whose accuracy means something: not those of critical masks never trained under."""
    return [row for row in rows if not row.is_critical or row.first.mask_epochs]


def lines_of(rows: list[Row]) -> dict[str, list[Row]]:
    """The pruned rows of each method, by rising compression reached: a line in a figure."""
    lines: dict[str, list[Row]] = {}
    for row in rows:
        if not row.is_dense:
            lines.setdefault(row.method, []).append(row)
    return {
        method: sorted(line, key=lambda row: (row.reached, row.compression))
        for method, line in lines.items()
    }


def rounded(compression: float) -> str:
    """Four digits of it, as people write them: 16, 1.538, 12,350."""
    digits = f"{compression:.4g}"
    return f"{float(digits):,.0f}" if "e+" in digits else digits


def times(compression: float) -> str:
    return f"{rounded(compression)}x"
