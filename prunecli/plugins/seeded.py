"""Options of plugins that draw random numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from prunecli.plugins import registry
from prunecli.runtime.seeds import derive_seed


def options_with_seed(
    function: Callable[..., Any], options: Mapping[str, Any], seed: int, *parts: object
) -> dict[str, Any]:
    """The options; a function that takes a seed gets one derived from its own, or else from `seed`.

    `parts` tell apart the calls that must not draw the same numbers.
    """
    if "seed" not in registry.options(function):
        return dict(options)
    return {**options, "seed": derive_seed(options.get("seed", seed), *parts)}
