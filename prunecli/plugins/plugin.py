"""A method, pruner, model or data set, with its options."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from prunecli.errors import BadUsage
from prunecli.plugins.arguments import Parameters, checked, named, positional
from prunecli.plugins.names import NOUNS
from prunecli.runtime.seeds import derive_seed


@dataclass(frozen=True)
class Plugin:
    """What `resolve` finds. Called, it gives what its kind does."""

    kind: str
    name: str
    call: Callable[..., Any] = field(compare=False, repr=False)
    own: bool
    """Whether it is prunecli's own."""
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """The options that were said, of their own types."""

    def __call__(self, *arguments: Any, **more: Any) -> Any:
        return self.call(*arguments, **{**self.options, **more})

    @property
    def label(self) -> str:
        """The name that errors call it by: "method 'snip'"."""
        return f"{NOUNS[self.kind]} {self.name!r}"

    @property
    def text(self) -> str:
        """The documentation."""
        return inspect.getdoc(self.call) or ""

    @property
    def summary(self) -> str:
        """The first line of the documentation."""
        return self.text.partition("\n")[0]

    @property
    def declared(self) -> Parameters:
        """What options there are: the keyword-only arguments but `mask`."""
        return {name: option for name, option in named(self.call).items() if name != "mask"}

    def bound(self, options: Mapping[str, Any]) -> Plugin:
        """The plugin with these options. Raises BadUsage for unknown, misfit or missing ones."""
        return replace(self, options=checked(self.label, self.declared, options))

    def seeded(self, seed: int, *parts: object) -> Plugin:
        """The plugin with a seed, if it takes one: derived from its own, or else from `seed`.

        `parts` tell apart the calls that must not draw the same numbers.
        """
        if "seed" not in self.declared:
            return self
        derived = derive_seed(self.options.get("seed", seed), *parts)
        return replace(self, options={**self.options, "seed": derived})

    # Of pruners:

    def check_fits(self, epochs: int) -> None:
        """Raise BadUsage for options that do not fit into a training of that many epochs.

        That is what shows without a network; see `types.planned`.
        """
        if fits := getattr(self.call, "fits", None):
            fits(epochs, self.options)

    # Of scorers:

    @property
    def takes_model(self) -> bool:
        """Whether it takes a model and data; a tensor scorer takes one weight."""
        count = len(positional(self.call))
        if count not in (1, 2):
            raise BadUsage(f"{self.label}: a scorer takes (weight) or (model, data)")
        return count == 2

    @property
    def takes_part(self) -> bool:
        """Whether a tensor scorer takes any part of a weight, `types.Part`, not only the whole."""
        from prunecli.types import Part  # which torch comes with

        return positional(self.call)[0].annotation is Part

    @property
    def takes_mask(self) -> bool:
        """Whether it is to be given the mask that is on while it scores, besides its options."""
        return "mask" in named(self.call)

    @property
    def rounds(self) -> int:
        """The default number of rounds; see `types.iterative`."""
        return int(getattr(self.call, "rounds", 1))

    @property
    def decides(self) -> bool:
        """Whether it says by itself what stays; see `types.decisive`."""
        return bool(getattr(self.call, "decisive", False))
