"""How many weights may stay: what the density that is asked for comes to."""

from __future__ import annotations

from dataclasses import dataclass, replace

from prunecli.errors import BadUsage
from prunecli.files.artifacts import kind_of
from prunecli.files.records import ScoresRecord
from prunecli.files.tensors import TensorFile
from prunecli.masks.mask import exact_count
from prunecli.masks.targets import parameter_count
from prunecli.pruning.selection import Selection


@dataclass(frozen=True)
class Allowance:
    """How many weights may stay: the density over the scored ones, and what else is counted."""

    density: float | None
    scored: int
    layers: int
    whole: int

    @classmethod
    def of(cls, file: TensorFile, names: list[str], selection: Selection) -> Allowance:
        """The allowance, solved for the weights that are scored.

        Raises BadUsage where there is no solution.
        """
        scored = sum(file.entry(name).numel for name in names)
        over_model = selection.count == "model"
        whole = scored
        if over_model:
            told = file.says(ScoresRecord).parameters or 0
            whole = told if kind_of(file) == "scores" else parameter_count(file)
        if whole < scored:
            raise BadUsage(f"{file.label}: it does not say how many parameters the network has")
        allowance = cls(None, scored, len(names), whole)
        if selection.density is None:
            return allowance
        asked = exact_count(selection.density, whole)
        if asked <= allowance.others:
            what = f"a density of {selection.density:g} keeps"
            why = f"none of the {scored:,} weights"
            if over_model:
                others = f"{allowance.others:,} are not pruned"
                why = f"{asked:,} of {whole:,} parameters, of which {others}"
            most = whole / (allowance.others + allowance.layers)
            raise BadUsage(
                f"{what} {why}: infeasible; the highest compression that leaves each of the "
                f"{allowance.layers} layers a weight is {most:.6g}"
            )
        keep = asked - allowance.others
        return replace(allowance, density=keep / scored)

    @property
    def others(self) -> int:
        """Parameters that count but are not scored."""
        return self.whole - self.scored
