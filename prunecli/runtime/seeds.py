"""Seeds derived from their purpose."""

from __future__ import annotations

import hashlib


def derive_seed(*parts: object) -> int:
    """A seed that depends on every part; equal parts give equal seeds on any machine."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
