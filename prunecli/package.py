"""The package itself."""

from __future__ import annotations

from pathlib import Path

NAME = __name__.partition(".")[0]
VERSION = "0.1.0"
FOLDER = Path(__file__).parent
