"""The settings of `mask`: how many weights to keep, and how to select them."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path

from prunecli.errors import BadUsage
from prunecli.settings.kinds import File, OneOf, Plain, Real, Switch, Whole
from prunecli.settings.scoring import ScoringSettings
from prunecli.settings.table import group, option, option_of

SCOPES = ("global", "layer", "uniform", "erk")
ROUND_SCHEDULES = ("exponential", "linear")
COUNTS = ("scored", "model")
RULES = ("exact", "threshold")
UNSTRUCTURED = "unstructured"
ASKS = ("density", "sparsity", "compression", "critical")
"""The ways to set how many weights to keep."""


@dataclass(frozen=True)
class MaskSettings:
    """The settings of `mask`."""

    density: float | None = option("Fraction of weights to keep.", Real(0, 1))
    sparsity: float | None = option("Fraction of weights to remove.", Real(0, 1, "[)"))
    compression: float | None = option("Ratio of all weights to kept weights.", Real(1, ends="[]"))
    critical: bool = option(
        "Find the highest compression at which every layer keeps a weight.", Switch()
    )
    scope: str = option(
        "Rank all weights together (global), or give each layer its own budget.",
        OneOf(SCOPES),
        SCOPES[0],
    )
    dense: tuple[str, ...] = option(
        "Weights that --scope uniform does not prune (shell pattern); repeatable.", Plain.TEXTS,
        metavar="PATTERN", unset="the network's first layer",
    )  # fmt: skip
    pattern: str | None = option(
        "N:M keeps the N highest scores of every M along a layer's inputs.", Plain.TEXT,
        metavar=f"{UNSTRUCTURED}|N:M", unset=UNSTRUCTURED,
    )  # fmt: skip
    rounds: int | None = option(
        "Prune in this many rounds, and score again before each.", Whole(1, 10_000),
        unset="the method's own, else 1",
    )  # fmt: skip
    schedule: str | None = option(
        "How the density falls over the rounds.", OneOf(ROUND_SCHEDULES), unset=ROUND_SCHEDULES[0]
    )
    count: str | None = option(
        "What the density is a fraction of: the scored weights, or all parameters of the model.",
        OneOf(COUNTS), unset=COUNTS[0],
    )  # fmt: skip
    rule: str = option(
        "exact keeps the set number of weights; threshold prunes every score between -t and t, "
        "where t is the lowest score that exact keeps.",
        OneOf(RULES), RULES[0], silent=RULES[0],
    )  # fmt: skip
    preset: str | None = option(
        "thesis sets --exclude-classifier and --count model; an explicit --count overrides it.",
        OneOf(("thesis",)),
    )
    mask: Path | None = option("Keep only weights that this earlier mask keeps.", File())
    no_dead_layers: bool = option(
        "Fail if the mask leaves a dead layer, one without weights.", Switch()
    )
    scoring: ScoringSettings = group(ScoringSettings)

    def complete(self) -> MaskSettings:
        """The settings, with the preset filled in."""
        if self.preset is None:
            return self
        scoring = replace(self.scoring, exclude_classifier=True)
        return replace(self, count=self.count or "model", scoring=scoring)

    def asked(self, decides: bool) -> float | None:
        """The requested density; None for --critical, or where a pattern or the method sets it.

        `decides`: the method itself decides which weights stay. Raises BadUsage for options that
        exclude each other.
        """
        given = [n for n in ASKS if getattr(self, n) is not None and getattr(self, n) is not False]
        if decides or self.pattern not in (None, UNSTRUCTURED):
            if odd := given + self._settled(decides):
                what = f"--method {self.scoring.method}" if decides else f"--pattern {self.pattern}"
                flag = option_of(MaskSettings, odd[0]).flag
                raise BadUsage(f"{what} decides which weights to keep; leave {flag} out")
            return None
        if len(given) != 1:
            raise BadUsage(
                "give exactly one of --density, --sparsity, --compression and --critical"
            )
        if self.critical:
            if self.mask:
                raise BadUsage("--critical starts from the whole network; leave --mask out")
            if self.rule != RULES[0]:
                raise BadUsage("--critical needs --rule exact; leave --rule out")
            return None
        if self.compression is not None:
            return 1 / self.compression
        # 1 - 0.9 is 0.09999999999999998; the user means 0.1.
        return round(1 - self.sparsity, 15) if self.sparsity is not None else self.density

    def _settled(self, decides: bool) -> list[str]:
        """The other options given that a pattern, or a method that decides, rules out."""
        plain = ("rounds", "schedule", "preset", "count", "scope", "dense", "rule")
        names = [*plain, *["pattern"] * decides]
        unsaid = {each.name: each.default for each in fields(self)}
        return [name for name in names if getattr(self, name) != unsaid[name]]
