"""The commands and snippets of the documents run, and write what the pages show."""

import re
import shlex
from pathlib import Path

import pages
import pytest
from pages import ROOT, Block, agree, blocks, brought_up_to_date
from warm import warm

from prunecli.cli import cli

DOCUMENTS = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
}
GENERATED = "docs/cli.md"
ROOTS = {"README.md"}  # whose blocks need no mark
# Pages that take a core 15 seconds or more, but for the two that are read first.
SLOW = {
    *(f"docs/guides/{name}.md" for name in (
        "a-study-overnight", "any-checkpoint", "prune-at-initialisation", "prune-iteratively",
        "prune-while-training",
    )),
    "docs/concepts/reports.md", "docs/concepts/scopes.md",
}  # fmt: skip


def each_page():
    for page in pages.pages():
        name = str(page.relative_to(ROOT))
        yield pytest.param(page, id=name, marks=[pytest.mark.slow] if name in SLOW else [])


@pytest.fixture(scope="module")
def tools(environment, tmp_path_factory):
    with warm(tmp_path_factory.mktemp("tools")) as folder:
        yield folder


@pytest.mark.long
@pytest.mark.parametrize("page", each_page())
def test_a_page_runs_and_writes_what_it_shows(page, tools, tmp_path):
    text = page.read_text()
    written = pages.run(text, tmp_path, tools, limit=600)
    differ = [(o.text, now) for o, now in pages.shown(text, written) if not agree(o.text, now)]
    assert not differ, f"python tests/pages.py {page}"
    assert all((page.parent / name).exists() for name in pages.figures(text))


@pytest.mark.parametrize("name", sorted(DOCUMENTS.keys() - {GENERATED} - ROOTS))
def test_every_block_runs_or_says_why_not(name):
    for block in blocks(DOCUMENTS[name]):
        if block.language in ("sh", "python"):
            assert re.fullmatch(r"run|run by \S+|not run: .+", block.marker), block.text
        if block.marker.startswith("run by"):
            test = ROOT / block.marker.removeprefix("run by ")
            assert f"{name.rpartition('/')[2]}" in test.read_text()


def test_slow_pages_are_there():
    assert DOCUMENTS.keys() >= SLOW


def test_the_site_has_every_page():
    nav = (ROOT / "mkdocs.yml").read_text().partition("nav:")[2]
    for name in DOCUMENTS.keys() - ROOTS:
        assert re.search(rf"[ ]{re.escape(name.removeprefix('docs/'))}$", nav, re.MULTILINE), name


def test_every_output_follows_what_is_run():
    for text in DOCUMENTS.values():
        found = blocks(text)
        for before, block in zip([None, *found], found, strict=False):
            assert block.marker != "output" or (before and before.runs), block.text


VERBS = "|".join(cli.commands)
COMMAND = re.compile(
    rf"^(?:    )?(?:PYTHONPATH=\. )?(?:python -m )?prunecli ((?:{VERBS}) .*)$", re.M
)


def commands(text):
    """Command lines of blocks that no test runs, and of indented lines."""
    for block in blocks(text):
        if block.runs or "pending" in block.marker:
            text = text.replace(block.text, "")
    for line in COMMAND.findall(text.replace("\\\n", " ")):
        words = shlex.split(line, comments=True)
        shell = [n for n, word in enumerate(words) if re.search(r"^[|&<>;\[]|[$>]", word)]
        if not any("$(" in word for word in words):
            yield words[: min(shell, default=len(words))]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_command_that_no_test_runs_is_one(name):
    for verb, *words in commands(DOCUMENTS[name]):
        cli.commands[verb].make_context(verb, words)


def test_outputs_agree_where_only_the_machine_differs():
    assert agree(
        "top-1 97.2% (0.6 s)\nkept 26,906 of 430,500\n", "top-1 96% (1.5 s)\nkept 26,901 of 430,500"
    )
    assert agree("epoch 1: loss 2.0", "epoch 1/3: 7/12\nepoch 1: loss 1.9\n")
    assert agree("sha256  0123456789abcdef", "sha256  fedcba9876543210fe")
    assert agree("lamp   16x", "lamp 16x")
    assert not agree("kept 26,906", "kept 20,906")
    assert not agree("dead 0", "dead 1")
    assert not agree("lamp 16x", "snip 16x")
    assert not agree("one line", "one line\ntwo lines")


PAGE = """Text.

<!-- run -->
```sh
printf 'a b\\n1\\n' && echo 0.5
```

<!-- output -->
```text
{shown}```

<!-- run -->
```python
# own.py
two = 2
```

<!-- not run: never -->
```sh
exit 1
```

<!-- run -->
```python
import own

print(own.two)
```

<!-- output -->
```text
2
```
"""


def test_a_page_is_run_in_one_folder_and_brought_up_to_date(tools, tmp_path):
    old, right = PAGE.format(shown="a c\n"), PAGE.format(shown="a b\n1\n0.5\n")
    written = pages.run(old, tmp_path, tools)
    assert brought_up_to_date(old, written) == right
    near = right.replace("\n0.5\n", "\n0.7\n")
    assert brought_up_to_date(near, written) == near
    assert brought_up_to_date(near, written, anew=True) == right
    with pytest.raises(AssertionError, match="exit code 1\n"):
        pages.run(old.replace("not run: never", "run"), tmp_path, tools)


def test_a_block_knows_its_mark_and_its_file():
    [one, _, two, three, *_] = blocks(PAGE.format(shown=""))
    assert (one.runs, two.file, three.marker) == (True, "own.py", "not run: never")
    assert Block("", "sh", "# just a word\n", 0).file is None


def test_a_warm_command_ends_as_a_cold_one(tools, tmp_path):
    with pytest.raises(AssertionError, match="exit code 2\n.*No such option"):
        pages.run("<!-- run -->\n```sh\nprunecli train --epoch 3\n```\n", tmp_path, tools)
    assert Path(tools, "prunecli").exists()
