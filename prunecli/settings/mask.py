"""How many weights stay, and where they are chosen among."""

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
"""The ways to say how many weights stay."""


@dataclass(frozen=True)
class MaskSettings:
    """What says how a mask is selected, and from what."""

    density: float | None = option("Fraction of weights to keep.", Real(0, 1))
    sparsity: float | None = option("Fraction to remove.", Real(0, 1, "[)"))
    compression: float | None = option("All weights over kept weights.", Real(1, ends="[]"))
    critical: bool = option("The highest compression that empties no layer.", Switch())
    scope: str = option(
        "Choose among all weights, or give each layer its share.", OneOf(SCOPES), SCOPES[0]
    )
    dense: tuple[str, ...] = option(
        "What --scope uniform keeps whole (shell pattern); repeatable.", Plain.TEXTS,
        metavar="PATTERN", unset="the network's first layer, pruned or not",
    )  # fmt: skip
    pattern: str | None = option(
        "N:M keeps N of every M weights along a layer's inputs.", Plain.TEXT,
        metavar=f"{UNSTRUCTURED}|N:M", unset=UNSTRUCTURED,
    )  # fmt: skip
    rounds: int | None = option(
        "Prune in rounds, scoring anew before each.", Whole(1, 10_000),
        unset="the method's own number, else 1",
    )  # fmt: skip
    schedule: str | None = option(
        "Of the density over rounds.", OneOf(ROUND_SCHEDULES), unset=ROUND_SCHEDULES[0]
    )
    count: str | None = option(
        "What the density counts over: the weights that are scored, or all parameters.",
        OneOf(COUNTS), unset=COUNTS[0],
    )  # fmt: skip
    rule: str = option(
        "threshold prunes what lies between -t and t, t the lowest score that exact keeps.",
        OneOf(RULES), RULES[0], silent=RULES[0],
    )  # fmt: skip
    preset: str | None = option(
        "thesis: --exclude-classifier --count model, unless --count says otherwise.",
        OneOf(("thesis",)),
    )
    mask: Path | None = option("Keep only what this mask keeps.", File())
    no_dead_layers: bool = option("Fail if a layer is left without weights.", Switch())
    scoring: ScoringSettings = group(ScoringSettings)

    def complete(self) -> MaskSettings:
        """The settings, with what the preset stands for."""
        if self.preset is None:
            return self
        scoring = replace(self.scoring, exclude_classifier=True)
        return replace(self, count=self.count or "model", scoring=scoring)

    def asked(self, decides: bool) -> float | None:
        """The density asked for; None for the critical one, and where a pattern or method decides.

        `decides`: the method says by itself what stays. Raises BadUsage for what cannot go
        together.
        """
        given = [n for n in ASKS if getattr(self, n) is not None and getattr(self, n) is not False]
        if decides or self.pattern not in (None, UNSTRUCTURED):
            if odd := given + self._settled(decides):
                what = f"--method {self.scoring.method}" if decides else f"--pattern {self.pattern}"
                raise BadUsage(
                    f"{what} decides that; leave {option_of(MaskSettings, odd[0]).flag} out"
                )
            return None
        if len(given) != 1:
            raise BadUsage(
                "give exactly one of --density, --sparsity, --compression and --critical"
            )
        if self.critical:
            if self.mask:
                raise BadUsage("--critical looks at the whole network; leave --mask out")
            if self.rule != RULES[0]:
                raise BadUsage("--critical needs exact numbers of weights; leave --rule out")
            return None
        if self.compression is not None:
            return 1 / self.compression
        # 1 - 0.9 is 0.09999999999999998; what was meant is 0.1.
        return round(1 - self.sparsity, 15) if self.sparsity is not None else self.density

    def _settled(self, decides: bool) -> list[str]:
        """What else was said that a pattern, or a method that decides, leaves no room for."""
        plain = ("rounds", "schedule", "preset", "count", "scope", "dense", "rule")
        names = [*plain, *["pattern"] * decides]
        unsaid = {each.name: each.default for each in fields(self)}
        return [name for name in names if getattr(self, name) != unsaid[name]]
