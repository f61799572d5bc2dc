"""How many weights to keep, from the requested density."""

from __future__ import annotations

from dataclasses import dataclass

from prunecli.errors import BadUsage
from prunecli.files.artifacts import kind_of
from prunecli.files.records import ScoresRecord
from prunecli.files.tensors import TensorFile
from prunecli.masks.mask import exact_count
from prunecli.masks.targets import parameter_count
from prunecli.pruning.selection import Selection


@dataclass(frozen=True)
class Allowance:
    """How many weights to keep: the density over the scored ones, and other counted parameters."""

    density: float | None
    whole: int
    """The number of all counted parameters."""
    others: int
    """Parameters that count but are not scored."""

    @classmethod
    def of(cls, file: TensorFile, names: list[str], selection: Selection) -> Allowance:
        """The allowance, solved for the scored weights.

        Raises BadUsage if there is no solution.
        """
        scored = sum(file.entry(name).numel for name in names)
        over_model = selection.count == "model"
        whole = scored
        if over_model:
            told = file.says(ScoresRecord).parameters or 0
            whole = told if kind_of(file) == "scores" else parameter_count(file)
        others = whole - scored
        if others < 0:
            raise BadUsage(f"{file.label}: it does not say how many parameters the network has")
        if selection.density is None:
            return cls(None, whole, others)
        asked = exact_count(selection.density, whole)
        if asked <= others:
            what = f"a density of {selection.density:g} keeps"
            why = f"none of the {scored:,} weights"
            if over_model:
                why = f"{asked:,} of {whole:,} parameters, of which {others:,} are not pruned"
            raise BadUsage(
                f"{what} {why}: infeasible: the highest compression that leaves each of the "
                f"{len(names)} layers a weight is {whole / (others + len(names)):.6g}"
            )
        return cls((asked - others) / scored, whole, others)
