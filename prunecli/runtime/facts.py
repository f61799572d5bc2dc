"""Facts as JSON: a canonical text, and differences."""

from __future__ import annotations

import json
from typing import Any

from prunecli.errors import printable


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text. NaN is refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def differences(one: Any, other: Any, where: str = "") -> list[tuple[str, Any, Any]]:
    """The differences of two JSON values: [('settings.lr', 0.1, 0.2)]."""
    if isinstance(one, dict) and isinstance(other, dict):
        return [
            found
            for key in sorted(one.keys() | other.keys())
            for found in differences(one.get(key), other.get(key), f"{where}.{key}".strip("."))
        ]
    return [] if one == other else [(printable(where), one, other)]
