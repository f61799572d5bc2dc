"""The figures that there are: what draws each, of which results, and how it is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from prunecli.errors import BadUsage
from prunecli.report.figures import curves, layers, options, ratios
from prunecli.report.figures.drawing import Drawing
from prunecli.report.figures.sight import Sight
from prunecli.report.rows import Row
from prunecli.report.view import View
from prunecli.settings.report import CAPTIONS

BARS, SINGLE = "Means over seeds, with standard deviations.", "One seed each."
PUBLISHED, HOLLOW = " Hollow: published.", ("top1", "top5", "parameters")
OPTIONS = f"{BARS} A line for each other option; the values across are evenly spaced."
FIRST = "Of the first seed."
MOST = "Of the first seed, at the highest compression that half of the methods survive."
MIXED = MOST + " Methods that were asked for no compression are at their own."


@dataclass(frozen=True)
class Kind:
    """A figure: `has` says whether a section has something to show in it."""

    draw: Callable[[Sight], Drawing]
    has: Callable[[View], object]
    says: str
    """How it is read."""
    is_worth_it: Callable[[View], object] = lambda view: True
    """Whether a page shows it unasked."""


def _pruned(view: View) -> bool:
    return bool(view.lines)


def _sizes(view: View) -> bool:
    """Whether there are networks of several sizes to compare with."""
    published = any(pair.theirs and pair.theirs.parameters for pair in view.pairs)
    return _pruned(view) and (len(view.dense) > len(view.unpruned) or published)


def _top1(row: Row) -> list[float]:
    return row.values("top1")


def _sparsity(row: Row) -> list[float]:
    return [100 * (1 - density) for density in row.values("density")]


FIGURES = {
    "top1": Kind(lambda sight: ratios.accuracy(sight, "top1"), _pruned, BARS),
    "top5": Kind(lambda sight: ratios.accuracy(sight, "top5"), _pruned, BARS),
    "degradation": Kind(
        ratios.degradation,
        lambda view: _pruned(view) and len(view.unpruned) == 1,
        "Points lost against the unpruned network of the same seed; further down is worse.",
    ),
    "parameters": Kind(
        ratios.parameters,
        _sizes,
        f"{BARS} Dense networks of several sizes are one line; a triangle: beyond the edge.",
    ),
    "options": Kind(
        lambda sight: options.by_option(sight, _top1, "test top-1, %"),
        lambda view: options.varied(view.rows),
        OPTIONS,
    ),
    "options-sparsity": Kind(
        lambda sight: options.by_option(sight, _sparsity, "sparsity reached, %"),
        lambda view: options.varied(view.rows) and any(row.is_free for row in view.rows),
        OPTIONS,
    ),
    "error": Kind(
        ratios.compression_error,
        lambda view: any(not row.is_dense and not row.is_free for row in view.rows),
        "(reached - asked) / asked: 0 is exact, below 0 too many weights are left.",
        lambda view: any(not (row.is_met or row.is_dense or row.is_free) for row in view.rows),
    ),
    "critical": Kind(
        ratios.critical,
        lambda view: view.critical,
        "A bar reaches from the lowest to the highest seed. n / L: the weights by the layers, the "
        "highest compression that any method can have.",
    ),
    "density": Kind(
        layers.density, _pruned, f"{MOST} A line is broken where a layer is without weights."
    ),
    "loss": Kind(
        curves.convergence,
        lambda view: any(len(row.history) > 1 for row in view.rows),
        FIRST,
    ),
    "top1-epochs": Kind(curves.accuracy, curves.evaluated_in_training, MOST),
    "sparsity": Kind(curves.sparsity, curves.pruned_in_training, MOST),
    "pruned": Kind(curves.pruned, curves.pruned_in_training, MOST),
    "weights": Kind(
        layers.spread,
        layers.with_weights,
        f"{FIRST} Networks that differ in a switch among their options share a panel.",
    ),
    "distributions": Kind(
        layers.distributions,
        layers.with_layer_weights,
        f"{MOST} Shares of the whole layer. Dotted: the Gaussian that a threshold from the "
        "standard deviation assumes; vertical: the thresholds.",
    ),
}
"""By the names of `settings.report`."""


def caption(name: str, view: View) -> str:
    """How a figure of a section is read."""
    kind = FIGURES[name]
    hollow = name in HOLLOW and any(pair.theirs for pair in view.pairs)
    single = all(len(row.results) == 1 for row in view.rows)
    free = any(row.is_free for row in view.rows)
    says = kind.says.replace(BARS, SINGLE if single else BARS)
    return says.replace(MOST, MIXED if free else MOST) + PUBLISHED * hollow


def there_are(view: View) -> list[str]:
    """The figures that a section has something to show in, and worth it."""
    kinds = FIGURES.items()
    found = {name for name, kind in kinds if kind.has(view) and kind.is_worth_it(view)}
    return [name for name in CAPTIONS if name in found]


def drawn(sight: Sight, name: str) -> Drawing:
    """A figure by its name. Raises BadUsage if there is nothing to show in it."""
    kind = FIGURES[name]
    if not kind.has(sight.view):
        raise BadUsage(f"these results have nothing to show in the figure {name!r}")
    return kind.draw(sight)
