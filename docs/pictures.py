"""Draw the README's pictures of the quickstart: `python docs/pictures.py runs/quickstart`."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

PICTURES = Path(__file__).with_name("pictures")
WIDTH = 88


def report(results: list[Path], *options: str) -> str:
    """What `prunecli report` prints of these."""
    command = [sys.executable, "-m", "prunecli", "report", *map(str, results), *options]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def terminal(results: list[Path]) -> str:
    """The end of the quickstart in a terminal, as SVG that loads no font."""
    table = report(results, "--table", "top1")
    findings = report(results).partition("\n\n")[2]
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    console.print(Text("$ prunecli run recipes/quickstart.yaml", style="bold"))
    console.print(Text(f"\n{table}\n{findings}".rstrip("\n")))
    svg = console.export_svg(title="prunecli", unique_id="quickstart")
    return re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)


def main(study: Path) -> None:
    results = sorted(study.glob("*/**/result.json"))
    PICTURES.mkdir(exist_ok=True)
    (PICTURES / "terminal.svg").write_text(terminal(results))
    report(results, "--figure", "top1", "-o", str(PICTURES / "top1.svg"), "--force")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
