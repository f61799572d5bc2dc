"""How the networks of a section were trained: what they share, and what sets them apart."""

from __future__ import annotations

from prunecli.report.labels import training
from prunecli.report.view import View

TOLD = ("epochs", "earlier epochs", "batch_size", "optimizer", "lr", "schedule", "weight_decay")
"""The settings that a page tells, in this order, beside the options of the data."""


def shared(view: View) -> str:
    """The size of the network, and the settings that all pruned networks share, in words."""
    facts = {name: values[0] for name, values in _facts(view).items() if len(values) == 1}
    told = [name for name in TOLD if facts.get(name, "0") not in ("0", "0.0")]
    told += [name for name in facts if name.startswith("data ")]
    settings = ", ".join(f"{name} {facts[name]}" for name in told)
    size = f"{view.prunable:,.0f} prunable weights"
    return f"{size}; {settings}" if settings else size


def differing(view: View) -> dict[str, list[str]]:
    """The settings that pruned networks differ in, each with its values."""
    return {name: values for name, values in _facts(view).items() if len(values) > 1}


def _facts(view: View) -> dict[str, list[str]]:
    """Every setting of the pruned networks, with its values in the order of the rows."""
    facts: dict[str, dict[str, None]] = {}
    for row in view.rows:
        for result in row.results if not row.is_dense else []:
            for name, value in training(result).items():
                facts.setdefault(name, {})[value] = None
    return {name: list(values) for name, values in facts.items()}
