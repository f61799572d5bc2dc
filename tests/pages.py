"""Documents whose commands are run: what a page holds, and what comes of running it.

A block of `sh` or `python` follows a comment: `<!-- run -->`, or `<!-- not run: why -->`. Blocks
run in order, in one folder and one shell. A block whose first line is `# NAME.py` or `# NAME.yaml`
is that file. What a block writes follows it where the page shows it, after `<!-- output -->`.

`python tests/pages.py [PAGE...]` runs pages and puts what is written now in place of what differs,
with `--anew` in place of all.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from warm import warm

ROOT = Path(__file__).parent.parent
FENCE = re.compile(r"(?:<!-- ([^\n]*?) -->\n)?^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?")
# Hashes, and how long or large something was, are not compared.
ELSEWHERE = re.compile(r"\b[0-9a-f]{12,}\b|(?<![\d.])\d+(?= (?:s|ms|min|MB|kB)\b)")
PROGRESS = re.compile(r"^.*?: \d+/\d+$\n?", re.MULTILINE)  # whenever a second is over
STANDING = 0.1
"""By what part a whole number may differ elsewhere: how many weights stay depends on them."""


@dataclass(frozen=True)
class Block:
    """A fenced block: what is said of it, its language, its text, and where that is in the page."""

    marker: str
    language: str
    text: str
    start: int

    @property
    def runs(self) -> bool:
        return self.marker == "run"

    @property
    def file(self) -> str | None:
        found = re.match(r"# ([\w-]+\.(?:py|yaml))\n", self.text)
        return found and found[1]


def blocks(text: str) -> list[Block]:
    found = FENCE.finditer(text)
    return [Block(m[1] or "", m[2], m[3], m.start(3)) for m in found]


def script(block: Block, number: int) -> str:
    if block.file:
        Path(block.file).write_text(block.text)
        return ""
    if block.language != "python":
        return block.text
    Path(f".{number}.py").write_text(block.text)
    return f"mv .{number}.py example.py\npython example.py\n"


def run(text: str, folder: Path, tools: Path, limit: float | None = None) -> list[str]:
    """What each block of a page writes, "" if it is not run. Raises if one fails."""
    here = Path.cwd()
    os.chdir(folder)
    try:
        parts = [script(b, n) if b.runs else "" for n, b in enumerate(blocks(text))]
    finally:
        os.chdir(here)
    # Without IFS, bash leaves the value of a variable whole, as zsh always does.
    lines = ["IFS=", *(f"{part}\nprintf '\\f'" for part in parts)]
    own = {"PATH": f"{tools}:/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(lines)],
        cwd=folder,
        env=os.environ | own,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=limit,
    )
    written = done.stdout.split("\f")
    if done.returncode:
        raise AssertionError(f"exit code {done.returncode}\n{written[-1]}")
    return written[:-1]


def shown(text: str, written: list[str]) -> list[tuple[Block, str]]:
    """The outputs that a page shows, each with what was written now."""
    pairs = zip(pairwise(blocks(text)), written, strict=False)
    return [(output, now) for (_, output), now in pairs if output.marker == "output"]


def plain(text: str) -> str:
    """Lines without what differs between any two runs, spaces as one."""
    text = ELSEWHERE.sub("", PROGRESS.sub("", text))
    return "\n".join(" ".join(line.split()) for line in text.rstrip().splitlines())


def agree(shown: str, written: str) -> bool:
    """Whether the words are the same, and whole numbers as good as the same.

    Decimals are measured or computed, and differ from machine to machine.
    """
    shown, written = plain(shown), plain(written)
    if NUMBER.sub("#", shown) != NUMBER.sub("#", written):
        return False
    numbers = zip(NUMBER.findall(shown), NUMBER.findall(written), strict=True)
    return all("." in a + b or near(a, b) for a, b in numbers)


def near(one: str, other: str) -> bool:
    a, b = (float(number.replace(",", "")) for number in (one, other))
    return abs(a - b) <= STANDING * max(a, b)


def brought_up_to_date(text: str, written: list[str], *, anew: bool = False) -> str:
    for output, now in reversed(shown(text, written)):
        if anew or not agree(output.text, now):
            end = output.start + len(output.text)
            text = text[: output.start] + PROGRESS.sub("", now).rstrip() + "\n" + text[end:]
    return text


def figures(text: str) -> list[str]:
    """The figures that a page shows beside its text, made by its commands."""
    return re.findall(r"\]\(([^)\s:]+\.svg)\)", text)


def pages() -> list[Path]:
    """Those that have anything to run."""
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [path for path in found if any(block.runs for block in blocks(path.read_text()))]


def update(paths: list[Path], *, anew: bool) -> None:
    with tempfile.TemporaryDirectory() as tools, warm(Path(tools)):
        for path in paths:
            with tempfile.TemporaryDirectory() as folder:
                text = path.read_text()
                written = run(text, Path(folder), Path(tools))
                new = brought_up_to_date(text, written, anew=anew)
                for name in figures(text):
                    if (made := Path(folder, Path(name).name)).exists():
                        shutil.copy(made, path.parent / name)
            print(f"{shlex.quote(str(path))}: {'as it was' if new == text else 'changed'}")
            path.write_text(new)


if __name__ == "__main__":
    os.environ.setdefault("PRUNECLI_CACHE", tempfile.mkdtemp())
    named = [Path(name).resolve() for name in sys.argv[1:] if name != "--anew"]
    update(named or pages(), anew="--anew" in sys.argv)
